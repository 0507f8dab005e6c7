#!/usr/bin/env python3
"""What the checks for silent trouble cost: every second step makes one, the others do not, so drift meets both alike.

Trains on two ranks with `distributed.compare_every=2`, then with `checkpointing.verify=2` and every layer recomputed.
Prints the medians over a run's steps of the time from one step's end to the next, and the share that a check has when
every n-th step makes one.

    benchmarks/silent_trouble.py [--steps 200] [--every 100] [key.sub=value ...]

on the quickstart's model and made-up text; the model of 12 M parameters: model.width=400 model.layers=6 model.heads=8.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "tests" / "program"))
from harness import DONE, Run, mpirun_command, run, write_data  # noqa: E402

CHECKS = {"replicas": ["distributed.compare_every=2"],
          "a replay": ["distributed.compare_every=0", "checkpointing.verify=2", "checkpointing.policy=full"]}


def intervals(folder, data, options, setting):
    """{is_checked: seconds between the ends of steps}, without the first steps."""
    result = run(mpirun_command(2, "train", SOURCE / "configs" / "quickstart.yaml", f"run.directory={folder}",
                                f"data.directory={data}", f"run.steps={options.steps}", "run.device=cpu",
                                "monitoring.evaluate_windows=8", "monitoring.evaluate_every=0", *options.set, *setting),
                 timeout=36000)
    if result.returncode != DONE:
        sys.exit(result.stderr)
    steps = Run(folder).of("step")[4:]
    seconds = {True: [], False: []}
    for before, step in zip(steps, steps[1:]):
        seconds[step["step"] % 2 == 0].append(step["time"] - before["time"])
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="*", help="settings of the run: key.sub=value")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(Path(folder) / "data", 500000, 20000)
        for i, (name, setting) in enumerate(CHECKS.items()):
            seconds = intervals(Path(folder) / f"run{i}", data, options, setting)
            plain, checked = statistics.median(seconds[False]), statistics.median(seconds[True])
            print(f"{name:<9} {1e3 * plain:8.2f} ms a step, {1e3 * (checked - plain):6.2f} ms a check: "
                  f"{100 * (checked / plain - 1) / options.every:.4f} % at one in {options.every} steps")


if __name__ == "__main__":
    main()
