#!/usr/bin/env bash
# What the batch scripts beside it share; they source it. Slurm's own words: man sbatch, --signal and --requeue.
#
#   supervise COMMAND...   runs the command, passes USR1 on to it, and when it ends
#     0                            is done
#     85                           saved because it was asked: the job goes back into the queue
#     75 86, 134 135 137 138 139   a rank or a host is lost, or a rank's memory is not to be trusted: the job goes back
#     143 205 of mpirun            too, but at most REPRISE_RETRIES (3) times in a row without a newer snapshot
#     anything else                needs a person: the job ends with that code
# Uses run_directory (see find_run_directory) and, beside the log, reprise-JOB.retries: how often, since which snapshot.

if [[ -z ${REPRISE:-} ]]; then
  REPRISE=$PWD/build/release/reprise
  [[ ! -x build/cuda/reprise ]] || REPRISE=$PWD/build/cuda/reprise
fi
export REPRISE OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}

say() { echo "$(date '+%F %T') job ${SLURM_JOB_ID:-?}: $*" >&2; }

# Sets run_directory as the program itself understands the configuration and the settings after it.
find_run_directory() {
  local settings
  settings=$("$REPRISE" train "$@" --print-config) || exit
  run_directory=$(sed -nE '/^run:/,/^[^ ]/s/^  directory: ("?)(.*[^" ])"? +# .*$/\2/p' <<< "$settings")
  say "start $((${SLURM_RESTART_COUNT:-0} + 1)) on ${SLURM_JOB_NODELIST:-this host}, run in $run_directory," \
    "newest snapshot: step $(newest_step)"
}

newest_step() {  # 0: none
  local step=0 manifest
  for manifest in "$run_directory"/snapshots/snapshot-*/manifest.json; do
    [[ $manifest =~ /snapshot-0*([0-9]+)/manifest.json$ && -e $manifest ]] || continue
    if ((BASH_REMATCH[1] > step)); then step=${BASH_REMATCH[1]}; fi
  done
  echo "$step"
}

requeue() {
  say "$1; requeues"
  scontrol requeue "$SLURM_JOB_ID" && exit "$code"   # Slurm ends this script meanwhile
  say "scontrol requeue failed: submit the job again, and the run goes on"
  exit "$code"
}

retry() {
  local memory=reprise-$SLURM_JOB_ID.retries tries=0 step=-1 newest
  newest=$(newest_step)
  if [[ -r $memory ]]; then read -r tries step < "$memory"; fi
  tries=$((newest > step ? 1 : tries + 1))
  echo "$tries $newest" > "$memory"
  if ((tries > ${REPRISE_RETRIES:-3})); then
    say "exit $code: ended $tries times in a row at step $newest, without a newer snapshot: gives up"
    exit "$code"
  fi
  requeue "exit $code: a rank was lost or differs; newest snapshot: step $newest, try $tries of ${REPRISE_RETRIES:-3}"
}

supervise() {
  local child interrupted=1 is_ended=0
  "$@" < /dev/null &
  child=$!
  # A signal ends `wait` early; the command goes on, and so does the waiting.
  trap 'interrupted=1; say "USR1: the run saves and stops"; kill -USR1 "$child" 2> /dev/null || true' USR1
  trap 'interrupted=1 is_ended=1; say "TERM: the job ends unsaved"; kill -TERM "$child" 2> /dev/null || true' TERM
  while ((interrupted)); do
    interrupted=0 code=0
    wait "$child" || code=$?
  done
  if ((is_ended)); then exit 143; fi   # cancelled or out of time; when it is preempted, Slurm itself requeues it
  case $code in
    0) rm -f "reprise-$SLURM_JOB_ID.retries"; say "done" ;;
    85) requeue "exit 85: saved at step $(newest_step)" ;;
    75 | 86 | 134 | 135 | 137 | 138 | 139 | 143 | 205) retry ;;
    *) say "exit $code: needs a person, see docs/cluster.md" ;;
  esac
  exit "$code"
}
