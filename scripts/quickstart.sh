#!/usr/bin/env bash
# From nothing to a trained model and a proof, on two ranks of this machine. Run again, it reuses what is there
# and makes a new run (runs/quickstart-2, ...).
#   scripts/quickstart.sh                   trains on the sources of Python's standard library (set-up needs it anyway)
#   scripts/quickstart.sh --text FILE...    trains on your own text
set -euo pipefail

texts=()   # absolute paths
case ${1:-} in
  "") ;;
  --text)
    shift
    (($#)) || { echo "quickstart: --text needs at least one file" >&2; exit 64; }
    for file in "$@"; do
      [[ -f $file && -r $file ]] || { echo "quickstart: cannot read '$file'" >&2; exit 65; }
      texts+=("$(realpath "$file")")
    done
    ;;
  -h | --help) sed -n '2,/^set -/p' "$0" | sed 's/^# \{0,1\}//;/^set -/d'; exit 0 ;;
  *) echo "quickstart: unknown argument '$1'; try --help" >&2; exit 64 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${REPRISE_CACHE:-$HOME/.cache/reprise}/venv/bin/python
preset=$(scripts/setup.sh --preset)   # cuda where there is a GPU
reprise=build/$preset/reprise

step() { printf '\n== quickstart %s/6: %s\n' "$1" "$2"; }

step 1 "what is missing on this machine, then the build"
scripts/build.sh "$preset" reprise reprise-bench   # the tests are for scripts/test.sh

step 2 "the corpus"
if ((${#texts[@]})); then
  data=data/text-$(stat -c '%n %s %Y' "${texts[@]}" | sha256sum | cut -c1-12)
else
  data=data/text
  library=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
  # Its own tests are left out: they are half of it and mostly tables.
  mapfile -t texts < <(find "$library" -name '*.py' -size +0 \
    -not -path '*/site-packages/*' -not -path '*/test/*' -not -path '*/tests/*' | LC_ALL=C sort)
  echo "the standard library of $("$python" -V): ${#texts[@]} files in $library"
fi
if grep -qs '"complete"' "$data/dataset.json"; then
  echo "already in $data"
else
  "$reprise" data prepare --tokenizer bytes --out "$data" "${texts[@]}"
fi

name=quickstart
for ((n = 2; ; n++)); do
  [[ -e runs/$name ]] || break
  name=quickstart-$n
done
run=runs/$name
# Two ranks of one thread each, this machine only: shared memory, no network. A GPU each, where there are any.
np=2
gpus=$(nvidia-smi -L 2> /dev/null | wc -l || true)
if [[ $preset == cuda && $gpus == 1 ]]; then np=1; fi
precision=fp32
if ((gpus == 0)) && grep -qwE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then precision=bf16; fi   # faster there
if ((EUID == 0)); then export REPRISE_ALLOW_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
export OMP_NUM_THREADS=1
ranks=(mpirun -np "$np" --bind-to none --oversubscribe
  --mca btl "vader,self" --mca btl_vader_single_copy_mechanism none)

train() {
  "${ranks[@]}" "$reprise" train configs/quickstart.yaml "data.directory=$data" "precision.compute=$precision" "$@"
}

step 3 "training a small GPT-2 on two ranks: one to two minutes"
train "run.name=$name" "run.directory=$run"

step 4 "the proof: 20 steps under the same plan and under no plan, with dropout"
proof=(run.steps=20 model.dropout=0.1 monitoring.evaluate_every=0 monitoring.evaluate_windows=8
  monitoring.prometheus.enabled=false)
train "${proof[@]}" run.name=proof-plan "run.directory=$run/proof-plan"
train "${proof[@]}" run.name=proof-none "run.directory=$run/proof-none" checkpointing.policy=none

step 5 "what the model writes"
"$reprise" sample "$run" --prompt 'def ' --tokens 300 --temperature 0.7 --seed 1 | tee "$run/sample.txt"

step 6 "the summary"
"$python" scripts/quickstart_summary.py "$run"
