#!/usr/bin/env bash
# The other end of docker/agent.sh: in a worker's container, waits for the line that mpirun sends to this host's name,
# runs it and ends with it, with its exit code: one start, one job. It runs whatever comes, so nobody else may share the
# folder.
#   docker/worker.sh
# 75 when none came within REPRISE_WORKER_SECONDS (120). When the other container is killed, Open MPI's daemon notices
# that mpirun is gone; ten seconds after the agent is gone it is ended from here. TERM ends it and its ranks (143).
set -euo pipefail

limit=${REPRISE_WORKER_SECONDS:-120} pipes=${REPRISE_LAUNCH:-/reprise/launch}/$(hostname) children=()
trap 'kill -- "${children[@]}" 2> /dev/null || true' EXIT
trap 'exit 143' TERM INT
trap : PIPE

alive() { kill -0 "$1" 2> /dev/null; }

for pipe in "$pipes".{command,result}; do
  [[ -p $pipe ]] || mkfifo -m 600 "$pipe" 2> /dev/null || true
  [[ -p $pipe && -r $pipe && -w $pipe ]] && continue
  echo "worker.sh: $pipe: expected a pipe that user $(id -u) may use, or a folder to make it in" >&2
  exit 74
done
deadline=$((SECONDS + limit))
# cat, for opening a pipe waits for the other side without a limit. An agent may have been killed before it wrote.
until
  exec 3< <(exec cat "$pipes.command")
  children=($!)
  read -r -d '' -t "$limit" -u 3 command
do
  ((SECONDS < deadline)) && continue
  echo "worker.sh: no command within $limit s: is the container with mpirun up?" >&2
  exit 75
done
exec 4> >(exec 3<&-; exec cat > "$pipes.result")
result=$!
children+=("$result")
echo started >&4

setsid bash -c "$command" 3<&- 4>&- &   # a process group of its own, to be ended as a whole
job=$!
children+=("-$job")
cat <&3 > /dev/null 4>&- &   # ends with the agent
agent=$!
wait -n "$job" "$agent" || true
for ((i = 0; i < 100; ++i)); do
  if ! alive "$job" || alive "$agent"; then break; fi
  sleep 0.1
done
! alive "$job" || kill -- "-$job" 2> /dev/null || true
code=0
wait "$job" || code=$?
echo "$code" >&4
exec 4>&-
for ((i = 0; i < 20; ++i)); do alive "$result" || break; sleep 0.1; done   # until the agent has it
exit "$code"
