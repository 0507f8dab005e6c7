#!/usr/bin/env bash
# Is the training in this container well? The image's HEALTHCHECK; needs bash, find and awk only.
#   docker/healthcheck.sh [RUNS]     RUNS: the folder of the runs, by default REPRISE_RUNS, else /reprise/runs
# 0, healthy: every rank of `reprise train` that runs in this container answers at its metrics endpoint within 5 s and
#    ended a step, or, before the first, started, within REPRISE_HEALTH_SECONDS (600, as the alert RepriseNoStep).
#    Healthy is, too, a container without a rank: none started yet, or the run is over, and the exit code says how. So
#    is a rank without an endpoint: monitoring.prometheus.enabled=false, before its first step, at an IPv6 address, or a
#    run elsewhere than in RUNS.
# 1, unhealthy: one line names the ranks.
# Ranks in other containers do not count: an endpoint is an address on which a process of this container listens, and
# whose port a prometheus_sd.json in RUNS names. What a killed run left there is thus no matter.
set -euo pipefail

runs=${1:-${REPRISE_RUNS:-/reprise/runs}} limit=${REPRISE_HEALTH_SECONDS:-600}

listening() {  # the addresses on which process $1 listens, as /proc/net/tcp writes them: 0100007F:1F90
  local sockets
  sockets=$(find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' 2> /dev/null | tr -dc '0-9\n')
  [[ -z $sockets ]] ||
    awk 'NR == FNR { own[$1]; next } $4 == "0A" && $10 in own { print $2 }' <(echo "$sockets") /proc/net/tcp
}

page() {  # the metrics at address $1, port $2
  # shellcheck disable=SC2016  # the inner shell's
  timeout 5 bash -c 'exec 3<> "/dev/tcp/$1/$2" && printf "GET /metrics HTTP/1.0\r\n\r\n" >&3 && cat <&3' \
    page "$@" 2> /dev/null
}

announced=$(grep -ohE ':[0-9]+"' "$runs"/*/prometheus_sd.json 2> /dev/null | tr -dc '0-9\n' || true)
ranks=0 ill=()
for process in /proc/[0-9]*; do
  mapfile -d '' -t words 2> /dev/null < "$process/cmdline" || continue   # it ended meanwhile
  [[ ${words[0]:-} =~ (^|/)reprise$ && ${words[1]:-} == train ]] || continue
  ranks=$((ranks + 1))
  for entry in $(listening "${process#/proc/}"); do
    hex=${entry%:*} port=$((16#${entry#*:}))
    grep -qx "$port" <<< "$announced" || continue
    address=$((16#${hex:6:2})).$((16#${hex:4:2})).$((16#${hex:2:2})).$((16#${hex:0:2}))
    if ! text=$(page "$address" "$port"); then
      ill+=("$address:$port does not answer")
    elif ! awk -v now="$EPOCHSECONDS" -v limit="$limit" '
        /^(reprise_last_step_timestamp|process_start_time)_seconds/ && $NF > newest { newest = $NF }
        END { exit !(now - newest <= limit) }' <<< "$text"; then
      ill+=("$address:$port made no step for $limit s")
    fi
  done
done
if ((${#ill[@]})); then
  (IFS=';'; echo "unhealthy: ${ill[*]}")
  exit 1
fi
echo "healthy: $ranks ranks here"
