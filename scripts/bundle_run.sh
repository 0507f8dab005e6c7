#!/bin/sh
# In a folder made by scripts/bundle.sh: starts the program of this file's name from libexec/, or as `run` any command,
# with the folder's libraries, LibTorch's and Open MPI's runtime.
set -eu

name=$(basename "$0")
root=$(dirname "$(readlink -f "$0")")
root=${root%/openmpi/bin}

torch=${REPRISE_LIBTORCH:-}
if [ -z "$torch" ]; then
  # Where it is, without loading it.
  torch=$("${REPRISE_PYTHON:-python3}" -c '
import importlib.util
print(importlib.util.find_spec("torch").submodule_search_locations[0])' 2> /dev/null) || torch=
fi
if [ ! -e "$torch/lib/libtorch_cpu.so" ]; then
  echo "$name: LibTorch 2.11 is not in '$torch': set REPRISE_LIBTORCH to the folder that holds lib/libtorch_cpu.so" >&2
  exit 78
fi
export REPRISE_LIBTORCH="$torch"   # the ranks of mpirun need not look again

paths=$root/lib:$torch/lib
for folder in "$torch"/../nvidia/cu13/lib "$torch"/../nvidia/nccl/lib; do
  if [ -d "$folder" ]; then paths=$paths:$folder; fi
done
# The system's libstdc++ unless it is missing or older than the one that was packed.
newest=$(grep -ao 'GLIBCXX_3\.4\.[0-9]*' "$root"/lib/newer/libstdc++.so.6 | sort -uV | tail -n 1)
system=$(/sbin/ldconfig -p 2> /dev/null | sed -n 's/.*libstdc++\.so\.6 (libc6,x86-64.*=> //p' | head -n 1)
if [ ! -e "$system" ] || ! grep -aqF "$newest" "$system"; then paths=$root/lib/newer:$paths; fi
export LD_LIBRARY_PATH="$paths${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

export OPAL_PREFIX="$root/openmpi" OPAL_SYSCONFDIR="$root/openmpi/etc"
export PMIX_PREFIX="$root/pmix" PMIX_LIBDIR="$root/pmix/lib" PMIX_PKGLIBDIR="$root/pmix/lib/pmix" \
  PMIX_DATADIR="$root/pmix/share" PMIX_PKGDATADIR="$root/pmix/share/pmix"
# Open MPI's start on other hosts needs one of these, and refuses to start on this one alone without.
if ! command -v ssh > /dev/null && ! command -v rsh > /dev/null && [ -z "${SLURM_JOB_ID:-}" ]; then
  export OMPI_MCA_plm="${OMPI_MCA_plm:-isolated}"
fi

case $name in
  run) exec "$@" ;;
  mpirun) exec "$root/libexec/mpirun" --prefix "$root/openmpi" "$@" ;;
  *) exec "$root/libexec/$name" "$@" ;;
esac
