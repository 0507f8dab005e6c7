#!/usr/bin/env bash
# Sets up, builds and runs the tests.
#   scripts/test.sh                every test without a label: what guards the main branch
#   scripts/test.sh --all          labelled tests too (slow, root, network, gpu, prometheus)
#   scripts/test.sh --label NAME   the tests of one label; network needs root, too
#   scripts/test.sh --sanitize     model, checkpointing and distributed under ASan and UBSan; reducer, communicators,
#                                  heartbeat, pulse and exporter under TSan
# Further arguments go to ctest (for instance -R equality). A run that finds no test fails.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
preset=$(scripts/setup.sh --preset)   # release, or cuda where there is a GPU
labels='slow|root|gpu|network|prometheus'   # what the default run leaves out

run_ctest() {  # run_ctest PRESET ARGUMENTS...
  ctest --test-dir "build/$1" --output-on-failure --no-tests=error -j 2 "${@:2}"
}

# Builds and runs the tests whose names (folder/name) match an extended regular expression.
run_sanitized() {  # run_sanitized PRESET REGEX ARGUMENTS...
  local preset=$1 regex=$2 targets
  scripts/build.sh "$preset" reprise_pch
  mapfile -t targets < <(ninja -C "build/$preset" -t targets all |
    sed -n 's/^\([a-z]*\)_\([a-z0-9_]*_test\): phony$/\1\/\2/p' | grep -E "$regex" | tr / _)
  scripts/build.sh "$preset" "${targets[@]}"
  run_ctest "$preset" -R "$regex" "${@:3}"
}

case ${1:-} in
  --sanitize)
    shift
    # With TLS interception LSan crashes when MPI ranks exit ("Tracer caught signal 11"); planted leaks are still found.
    export ASAN_OPTIONS=fast_unwind_on_malloc=0:intercept_tls_get_addr=0
    export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
    export LSAN_OPTIONS=suppressions=$root/tests/lsan.supp:print_suppressions=0
    run_sanitized asan '^(model|checkpointing|distributed)/' -LE "$labels" "$@"
    # Without the option TSan takes Open MPI's and LibTorch's uninstrumented locks for races.
    export TSAN_OPTIONS=ignore_noninstrumented_modules=1
    run_sanitized tsan '^distributed/.*(reducer|communicator|heartbeat|pulse)|^monitoring/.*exporter' -LE "$labels" "$@"
    ;;
  --all)
    scripts/build.sh "$preset"
    run_ctest "$preset" "${@:2}"
    ;;
  --label)
    scripts/build.sh "$preset"
    run_ctest "$preset" -L "${2:?--label needs a name}" "${@:3}"
    ;;
  -h | --help) sed -n '2,/^set -/p' "$0" | sed 's/^# \{0,1\}//;/^set -/d' ;;
  *)
    scripts/build.sh "$preset"
    run_ctest "$preset" -LE "$labels" "$@"
    ;;
esac
