#!/usr/bin/env bash
# Stands in for ssh between containers of one machine: mpirun's plm_rsh_agent. It hands the line that starts Open MPI's
# daemon to docker/worker.sh in container HOST, by two named pipes in a folder that these containers alone share. No
# key, no port, no server.
#   docker/agent.sh HOST COMMAND...
# Stays while the command runs, as ssh does, and ends with its exit code, or with 75: there was no worker within
# REPRISE_WORKER_SECONDS (120), or it was killed. The folder is REPRISE_LAUNCH, by default /reprise/launch. A command is
# in a pipe between two living processes and nowhere else, so that none outlives its job.
set -euo pipefail

if (($# < 2)) || [[ ! $1 =~ ^[A-Za-z0-9._-]+$ ]]; then
  echo "agent.sh: expected HOST COMMAND..., got '$*'" >&2
  exit 64
fi
host=$1 limit=${REPRISE_WORKER_SECONDS:-120} pipes=${REPRISE_LAUNCH:-/reprise/launch}/$1
shift

lose() { echo "agent.sh: $*" >&2; kill "$writer" "$reader" 2> /dev/null || true; exit 75; }

# cat, for opening a pipe waits for the other side without a limit.
for pipe in "$pipes".{command,result}; do
  [[ -p $pipe ]] || mkfifo -m 600 "$pipe" 2> /dev/null || true
  [[ -p $pipe && -r $pipe && -w $pipe ]] && continue
  echo "agent.sh: $pipe: expected a pipe that user $(id -u) may use, or a folder to make it in" >&2
  exit 74
done
exec 3> >(exec cat > "$pipes.command")
writer=$!
exec 4< <(exec 3>&-; exec cat "$pipes.result")
reader=$!
printf '%s\0' "$*" >&3
read -r -t "$limit" -u 4 _ || lose "no docker/worker.sh took the command within $limit s: is container '$host' up?"
read -r -u 4 code || lose "docker/worker.sh in container '$host' is gone"
exit "$code"
