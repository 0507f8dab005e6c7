#!/bin/sh
# Tells Prometheus of every run: keeps a copy of RUNS/*/prometheus_sd.json as TARGETS/<run>.json as long as the run has
# one. (file_sd takes no pattern for a folder.) Runs until it is ended.
#   docker/prometheus/discover.sh RUNS TARGETS
set -eu
runs=$1 targets=$2
mkdir -p "$targets"
while :; do
  for copy in "$targets"/*.json; do
    [ -e "$runs/$(basename "$copy" .json)/prometheus_sd.json" ] || rm -f "$copy"
  done
  for file in "$runs"/*/prometheus_sd.json; do
    copy=$targets/$(basename "$(dirname "$file")").json
    # The run may end, and its file go, at any moment.
    [ ! -e "$file" ] || cmp -s "$file" "$copy" || { cp "$file" "$copy.new" && mv "$copy.new" "$copy"; } || :
  done
  sleep 2
done
