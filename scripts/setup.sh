#!/usr/bin/env bash
# Installs what building and running Reprise needs, and only what is missing:
#   1. packages of the distribution: the only privileged step, printed before it runs
#   2. LibTorch from its Python wheel, in a private virtual environment under ${REPRISE_CACHE:-~/.cache/reprise}
# When everything is there it needs neither root nor network. Debian 12, Ubuntu 22.04, Ubuntu 24.04.
#   scripts/setup.sh           where there is an NVIDIA driver, with LibTorch's CUDA parts and nvcc
#   scripts/setup.sh --cuda    with them in any case, to build for GPUs on a machine without one; later calls keep them
#   scripts/setup.sh --preset  only prints the preset of CMake that this machine is to build: release or cuda
# REPRISE_CUDA=ON or OFF in the environment decides before all else.
set -euo pipefail

cache=${REPRISE_CACHE:-$HOME/.cache/reprise}
venv=$cache/venv
# The wheel with the two libraries that libtorch_cpu.so names among its needs, and nothing else (--no-deps).
wheels=('torch==2.11.0' 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*')
# PyTorch whole, with all that it depends on, and a compiler of the same release: 3 GB to fetch, 5 GB on disk.
cuda_wheels=('torch==2.11.0' 'cuda-toolkit[nvcc,nvvm,crt,cccl]==13.0.*')
stamp=$venv/reprise-stamp   # written last: an environment without it, or with another content, is made anew

# Commands may come from anywhere; libraries come from packages.
tools=(g++:g++ cmake:cmake ninja:ninja-build mpirun:openmpi-bin ccache:ccache mold:mold)
libraries=(libopenmpi-dev libyaml-cpp-dev libcli11-dev libfmt-dev nlohmann-json3-dev libxxhash-dev
  libpcre2-dev libgtest-dev prometheus-cpp-dev)

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }

python_fits() {  # an interpreter that can make virtual environments and that the wheel exists for
  "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2> /dev/null
}

find_python() {
  local candidate
  for candidate in python3 /usr/bin/python3; do
    if python_fits "$candidate"; then command -v "$candidate"; return; fi
  done
  return 1
}

missing_packages() {
  local tool installed library
  for tool in "${tools[@]}"; do command -v "${tool%%:*}" > /dev/null || echo "${tool#*:}"; done
  # shellcheck disable=SC2016  # dpkg-query's own variables
  installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${libraries[@]}" 2> /dev/null || true)
  for library in "${libraries[@]}"; do grep -qx "$library installed" <<< "$installed" || echo "$library"; done
  find_python > /dev/null || echo python3 python3-venv
  # Ubuntu 22.04's own compiler is older than the one the code is tested with; scripts/build.sh takes this one there.
  if command -v g++ > /dev/null && (($(g++ -dumpversion | cut -d. -f1) < 12)); then
    command -v g++-12 > /dev/null || echo g++-12
  fi
}

install_packages() {
  local as_root=()
  ((EUID == 0)) || as_root=(sudo)
  say "missing packages: $*"
  say "running, as root: apt-get update && apt-get install -y --no-install-recommends $*"
  ((EUID == 0)) || command -v sudo > /dev/null || die "not root, and no sudo here: run that line as root first"
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# CUDA parts: asked for, or there already, or of use on this machine. (REPRISE_DRIVER: for tests.)
wants_cuda() {
  case ${REPRISE_CUDA:-} in
    ON) return 0 ;;
    OFF) return 1 ;;
    "") ;;
    *) die "REPRISE_CUDA is ON or OFF, not '$REPRISE_CUDA'" ;;
  esac
  [[ -e ${REPRISE_DRIVER:-/proc/driver/nvidia/version} || $(cat "$stamp" 2> /dev/null) == "${cuda_wheels[*]}" ]]
}

environment_is_whole() {
  [[ -f $stamp && $(< "$stamp") == "${wheels[*]}" ]] && "$venv/bin/python" -c '' 2> /dev/null
}

install_libtorch() {
  local python
  python=$(find_python) || die "no Python between 3.10 and 3.14 that can make virtual environments"
  say "LibTorch: ${wheels[*]}"
  say "into $venv ($size)"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --disable-pip-version-check --no-cache-dir "${alone[@]}" "${wheels[@]}"
  echo "${wheels[*]}" > "$stamp"
}

case ${1:-} in
  "") ;;
  --cuda) REPRISE_CUDA=ON ;;
  --preset)
    if wants_cuda; then echo cuda; else echo release; fi
    exit
    ;;
  -h | --help) sed -n '2,/^set -/p' "$0" | sed 's/^# \{0,1\}//;/^set -/d'; exit ;;
  *) echo "setup: unknown argument '$1'; try --help" >&2; exit 64 ;;
esac

size="about 1.3 GB on disk, half of it to fetch" alone=(--no-deps)
if wants_cuda; then
  wheels=("${cuda_wheels[@]}") size="about 5 GB on disk, 3 GB to fetch" alone=()
fi

command -v dpkg-query > /dev/null || die "neither Debian nor Ubuntu: THIRD_PARTY.md lists what to install by hand"
for _ in 1 2; do   # the second look knows the version of a compiler that the first one brought
  read -r -a missing <<< "$(missing_packages | tr '\n' ' ')"
  ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
done

mkdir -p "$cache"
exec 9> "$cache/setup.lock"   # two set-ups at once: the second waits and finds everything there
flock 9
environment_is_whole || install_libtorch
say "everything is there (LibTorch in $venv)"
