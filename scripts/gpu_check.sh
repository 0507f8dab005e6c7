#!/usr/bin/env bash
# What only a GPU can show, in under 8 minutes after the build: the tests with label gpu, equality of all policies, two
# ranks on one GPU, bytes predicted and measured, speed beside PyTorch's. Writes gpu-report.json and gpu-report.md into
# the current folder; exits 1 when a check fails. What a machine cannot do stands in the report with the reason.
#   scripts/gpu_check.sh                    sets up and builds with the preset cuda first
#   scripts/gpu_check.sh --build DIR        a build folder as it is
#   scripts/gpu_check.sh --bundle DIR       a folder made by scripts/bundle.sh
#   scripts/gpu_check.sh --rehearse [DIR]   the same with tiny models on the CPU, from build/release or DIR: tries the
#                                           check itself; no tests
# PyTorch is that of REPRISE_PYTHON, else of python3, else of scripts/setup.sh's environment.
set -euo pipefail

here=$PWD
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
check=(python3 "$source/scripts/gpu_check.py" --out "$here")
case ${1:-} in
  "")
    "$source/scripts/build.sh" cuda
    exec "${check[@]}" --build "$source/build/cuda"
    ;;
  --build | --bundle) exec "${check[@]}" "$1" "$(realpath -e "${2:?$1 needs a folder}")" ;;
  --rehearse) exec "${check[@]}" --rehearse --build "$(realpath -e "${2:-$source/build/release}")" ;;
  -h | --help) sed -n '2,/^set -/p' "$0" | sed 's/^# \{0,1\}//;/^set -/d'; exit 0 ;;
  *) echo "gpu_check: unknown argument '$1'; try --help" >&2; exit 64 ;;
esac
