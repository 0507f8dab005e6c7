#!/usr/bin/env bash
# Sets up what is missing and builds into build/PRESET/; the program is build/PRESET/reprise.
#   scripts/build.sh [release|cuda|debug|asan|tsan] [TARGET...]
# Without a preset: cuda where there is an NVIDIA driver or set-up was told --cuda, else release.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=${1:-$(scripts/setup.sh --preset)}
targets=("${@:2}")

if [[ $preset == cuda ]]; then scripts/setup.sh --cuda; else scripts/setup.sh; fi
if [[ -z ${CXX:-} ]] && (($(g++ -dumpversion | cut -d. -f1) < 12)); then export CXX=g++-12; fi
# One compiler takes about 1 GB with LibTorch's headers. OMP_NUM_THREADS is for the ranks, but nproc obeys it too.
jobs=$(awk -v cores="$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)" '/MemAvailable/ { jobs = int($2 / 1500000) }
  END { print jobs < 1 ? 1 : jobs < cores ? jobs : cores }' /proc/meminfo)
echo "build: preset $preset, $jobs jobs"
cmake --preset "$preset"
cmake --build --preset "$preset" --parallel "$jobs" ${targets:+--target "${targets[@]}"}
