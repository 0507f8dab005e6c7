#!/usr/bin/env bash
# What an image takes from the stage with LibTorch, at the same places below DEST: the shared libraries that a program
# loads, and the licences of all that the image carries and Debian's own /usr/share/doc/*/copyright there do not cover.
#   docker/collect.sh DEST
# For the CPU what libtorch_cpu.so needs, 0.4 of 1.3 GB. With CUDA every library of its and NVIDIA's wheels, as cuDNN
# and cuBLAS open theirs by name; not Python's, not the compiler's.
set -euo pipefail

dest=${1:?a folder for the image} texts=$1/usr/share/doc/reprise/licences
packages=$(echo "${REPRISE_CACHE:?}"/venv/lib/python3*/site-packages)

cd "$packages"
if [[ -d nvidia/nccl/lib ]]; then   # set up with --cuda
  find torch/lib nvidia -path '*/nvvm/*' -prune -o -name '*.so*' ! -name 'libtorch_python*' -print
else
  ldd torch/lib/libtorch_cpu.so | awk -v here="$packages/" 'index($3, here) == 1 { print $3 }' |
    xargs realpath --no-symlinks --relative-to=.
  echo torch/lib/libtorch_cpu.so
fi | sort -u > /tmp/libraries
mkdir -p "$dest$packages" "$texts"
xargs cp --parents --dereference --preserve=timestamps --target-directory="$dest$packages" < /tmp/libraries

# Of each wheel that one of them came with.
for wheel in *.dist-info; do
  grep -qxFf /tmp/libraries <(cut -d, -f1 "$wheel/RECORD") || continue
  mapfile -t found < <(cut -d, -f1 "$wheel/RECORD" | grep -iE '(^|/)(licen[cs]es/|(licen[cs]e|notice)(\.\w+)?$)')
  ((${#found[@]})) || { echo "collect: no licence in $wheel" >&2; exit 1; }
  cp --parents --target-directory="$texts" "${found[@]}"
done
# Of headers that are compiled in.
for package in libcli11-dev nlohmann-json3-dev libxxhash-dev libfmt-dev libopenmpi-dev; do
  cp "/usr/share/doc/$package/copyright" "$texts/$package"
done
