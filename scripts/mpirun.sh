#!/usr/bin/env bash
# Starts ranks of Reprise with mpirun, one worker a GPU, on this machine, on several, or inside a Slurm allocation.
#   scripts/mpirun.sh train configs/gpt2_124m.yaml                           this machine: a rank a GPU, else one rank
#   scripts/mpirun.sh --per-host 4 train CONFIG.yaml [key.sub=value ...]     4 ranks here
#   scripts/mpirun.sh --hosts node1,node2:4 --interface eth0 train ...       4 on node2, on node1 as many as by default
#   scripts/mpirun.sh --hostfile FILE train ...                              lines of Open MPI's form: node1 slots=8
# --per-host N       ranks of a host that names no number; default: the GPUs of this machine, 1 without
# --interface NAME   what MPI and NCCL talk over (also REPRISE_INTERFACE); without it they choose, at times a slow one
# --mpi "OPTIONS"    further options of mpirun
# Ranks get the environment's REPRISE_*, NCCL_*, OMP_*, MKL_*, CUDA_*, PYTORCH_* and OMPI_MCA_*; OMP_NUM_THREADS is 1
# unless set.
# The program is REPRISE, by default build/cuda/reprise or build/release/reprise of this checkout. As root only with
# REPRISE_ALLOW_ROOT=1. Send USR1 to this process to save and stop (exit 85). A host that is lost ends an idle job
# within about ten seconds; docs/cluster.md says what happens under load.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
die() { echo "mpirun.sh: $*" >&2; exit 64; }

hosts=() per_host="" interface=${REPRISE_INTERFACE:-} mpi_options=()
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set -/p' "$0" | sed 's/^# \{0,1\}//;/^set -/d'; exit 0 ;;
    --*) (($# > 1)) || die "$1 needs a value; try --help" ;;&
    --hosts) IFS=, read -ra hosts <<< "$2" ;;
    --hostfile)
      [[ -r $2 ]] || die "cannot read the host file '$2'"
      mapfile -t hosts < <(sed -E 's/#.*//; s/^[[:space:]]+//; s/[[:space:]]+$//; s/[[:space:]]+(max_slots=\S+)//
        s/[[:space:]]+slots[[:space:]]*=[[:space:]]*/:/; /^$/d' "$2")
      ((${#hosts[@]})) || die "no host in '$2'"
      ;;
    --per-host) per_host=$2 ;;
    --interface) interface=$2 ;;
    --mpi) read -ra mpi_options <<< "$2" ;;
    --*) die "unknown option '$1'; try --help" ;;
    *) break ;;
  esac
  shift 2
done
(($#)) || die "which command of reprise? try --help"

if ((EUID == 0)); then
  [[ ${REPRISE_ALLOW_ROOT:-} == 1 ]] || die "refuses to run ranks as root; set REPRISE_ALLOW_ROOT=1 to allow it"
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

if [[ -z ${REPRISE:-} ]]; then
  REPRISE=$source/build/release/reprise
  [[ ! -x $source/build/cuda/reprise ]] || REPRISE=$source/build/cuda/reprise
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}   # bits depend on it: never what a host happens to have

# Where the ranks go: the named hosts, Slurm's allocation, or this machine.
place=()
if ((${#hosts[@]})) || [[ -z ${SLURM_JOB_ID:-} ]]; then
  gpus=$(nvidia-smi -L 2> /dev/null | grep -c '^GPU' || true)
  per_host=${per_host:-$((gpus > 0 ? gpus : 1))}
  [[ $per_host =~ ^[1-9][0-9]*$ ]] || die "--per-host needs a number of ranks, not '$per_host'"
  ranks=0 list=()
  for host in "${hosts[@]:-localhost}"; do
    [[ $host == *:* ]] || host=$host:$per_host
    [[ $host =~ ^[^:[:space:]]+:([1-9][0-9]*)$ ]] || die "a host is NAME or NAME:RANKS, not '$host'"
    ranks=$((ranks + BASH_REMATCH[1])) list+=("$host")
  done
  place=(-np "$ranks" --host "$(IFS=,; echo "${list[*]}")")
else
  place=(-np "${SLURM_NTASKS:?Slurm gives no number of tasks}")
fi

if [[ -n $interface ]]; then
  export NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-$interface}
  mpi_options+=(--mca btl_tcp_if_include "$interface" --mca oob_tcp_if_include "$interface")
fi
forwarded=()
for name in $(compgen -e | grep -E '^(REPRISE|NCCL|OMP|MKL|CUDA|PYTORCH)(_|$)' || true); do
  forwarded+=(-x "$name")
done

# --bind-to none: by default Open MPI pins a rank and its communication thread to one core. The keepalive options end
# an idle job about ten seconds after a host is lost; the defaults take minutes.
exec mpirun "${place[@]}" --bind-to none "${forwarded[@]}" \
  --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 \
  "${mpi_options[@]}" "$REPRISE" "$@"
