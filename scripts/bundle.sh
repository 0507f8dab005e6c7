#!/usr/bin/env bash
# Packs a build into a folder that runs wherever glibc is at least as new as here (Debian 12: 2.36) and LibTorch 2.11 is
# installed, without Open MPI, without any package registry: the programs, the small libraries and Open MPI's runtime,
# not LibTorch, not CUDA. Under 60 MB, or it fails.
#   scripts/bundle.sh [--build DIR] [OUT]   of build/cuda if that is built, else of build/release; into build/bundle
# In the folder, which may be moved:
#   reprise, reprise-bench, mpirun   as everywhere: mpirun -np 2 ./reprise train configs/quickstart.yaml
#   run COMMAND                      any command with the same libraries
#   scripts/gpu_check.sh --bundle .  what only a GPU can show
# LibTorch is the folder in REPRISE_LIBTORCH, else the one that `python3` (or REPRISE_PYTHON) imports as torch.
# Open MPI comes without its plugins for InfiniBand and its like: ranks talk over shared memory and TCP (and by NCCL).
set -euo pipefail

die() { echo "bundle: $*" >&2; exit 1; }

here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=build/cuda
[[ -x $build/reprise ]] || build=build/release
case ${1:-} in
  --build) build=$(cd "$here" && realpath "${2:?--build needs a folder}"); shift 2 ;;
  -h | --help) sed -n '2,/^set -/p' "$0" | sed 's/^# \{0,1\}//;/^set -/d'; exit 0 ;;
  -*) echo "bundle: unknown argument '$1'; try --help" >&2; exit 64 ;;
esac
out=$(cd "$here" && realpath -m "${1:-$OLDPWD/build/bundle}")
limit_bytes=60000000

[[ -x $build/reprise ]] || die "no program in $build; run scripts/build.sh first"
[[ ! -e $out || -e $out/.reprise-bundle ]] || die "'$out' is there and no bundle; give another folder"
command -v ompi_info > /dev/null || die "ompi_info is missing; install the package openmpi-bin"
rm -rf "$out"
mkdir -p "$out"/{libexec/tests,lib,scripts,tests/program}
touch "$out/.reprise-bundle"

# 1. The programs, and the tests with label gpu that were built.
programs=("$build/reprise")
[[ ! -x $build/reprise-bench ]] || programs+=("$build/reprise-bench")
cp "${programs[@]}" "$out/libexec"
cp tests/program/harness.py "$out/tests/program"
mapfile -t tests < <(grep -lE '^(//|#) ctest-labels:.*\<gpu\>' tests/*/*_test.{cpp,py})
for test in "${tests[@]}"; do
  built=$(cut -d/ -f2- <<< "${test%.cpp}" | tr / _)   # tests/model/spin_gpu_test.cpp is model_spin_gpu_test
  case $test in
    *.py) cp "$test" "$out/tests/program" ;;
    *) [[ ! -x $build/tests/$built ]] || cp "$build/tests/$built" "$out/libexec/tests" ;;
  esac
done
cp scripts/gpu_check.sh scripts/gpu_check*.py "$out/scripts"
cp -r configs README.md LICENSE THIRD_PARTY.md "$out"

# 2. Open MPI's runtime, at the same places below a prefix as here.
mpi_path() { ompi_info --path "$1" --parsable | sed -n "s/^path:$1://p" | head -n 1; }
prefix=$(mpi_path prefix) plugins=$(mpi_path pkglibdir) texts=$(mpi_path pkgdatadir)
for program in mpirun orted; do cp -L "$(mpi_path bindir)/$program" "$out/libexec"; done
mkdir -p "$out/openmpi/bin" "$out/openmpi${plugins#"$prefix"}" "$out/openmpi${texts#"$prefix"}"
# Without those for other networks and for OpenSHMEM.
left_out='_(ucx|ofi|openib|psm2?|usnic|portals4)\.so$|mca_(memheap|scoll|spml|sshmem|atomic)_'
find -L "$plugins" -name 'mca_*.so' | grep -Ev "$left_out" | xargs cp -L -t "$out/openmpi${plugins#"$prefix"}"
cp -L "$texts"/*.txt "$out/openmpi${texts#"$prefix"}"
pmix=$(ldd "$plugins"/mca_pmix_*.so | awk '$1 ~ /^libpmix\.so/ { print $3; exit }')
if [[ -n $pmix ]]; then
  pmix=$(dirname "$(realpath "$pmix")")
  mkdir -p "$out/pmix/lib/pmix" "$out/pmix/share/pmix"
  [[ ! -d $pmix/pmix ]] || find -L "$pmix/pmix" -name '*.so' -exec cp -L -t "$out/pmix/lib/pmix" {} +
  [[ ! -d $pmix/../share/pmix ]] || cp -L "$pmix"/../share/pmix/*.txt "$out/pmix/share/pmix"
fi

# 3. What all of these load, less glibc, LibTorch and its neighbours. libstdc++ waits apart for a machine with none or
#    an older one.
glibc='^(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|anl|mvec|BrokenLocale|thread_db|nss_.*))\.so'
mapfile -t objects < <(find "$out" -type f \( -name '*.so' -o -path '*/libexec/*' \))
mapfile -t libraries < <(ldd "${objects[@]}" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
  grep -Ev '/(torch/lib|nvidia/[^/]+/lib)/' | grep -Ev "/${glibc#^}")
missing=$(ldd "${objects[@]}" | awk '$3 == "not" { print $1 }' | sort -u | tr '\n' ' ')
[[ -z $missing ]] || die "missing libraries: $missing"
mkdir "$out/lib/newer"
for library in "${libraries[@]}"; do
  case ${library##*/} in
    libgomp.so.*) ;;   # LibTorch brings its own
    libstdc++.so.* | libgcc_s.so.*) cp -L "$library" "$out/lib/newer" ;;
    *) cp -L "$library" "$out/lib" ;;
  esac
done
find "$out" -type f \( -name '*.so*' -o -path '*/libexec/*' \) -exec strip --strip-unneeded {} +

# 4. One wrapper under every name.
for name in reprise mpirun run openmpi/bin/orted; do cp scripts/bundle_run.sh "$out/$name"; done
[[ ! -x $out/libexec/reprise-bench ]] || cp scripts/bundle_run.sh "$out/reprise-bench"

bytes=$(du -sb "$out" | cut -f1)
awk -v bytes="$bytes" -v out="$out" 'BEGIN { printf "bundle: %.1f MB in %s\n", bytes / 1e6, out }'
((bytes < limit_bytes)) || die "that is over the limit of $((limit_bytes / 1000000)) MB"
