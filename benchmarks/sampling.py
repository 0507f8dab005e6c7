#!/usr/bin/env python3
"""How long `reprise sample` takes as a whole process, start included, on a model of the quickstart's shape: two steps
of training on made-up text, then 200 tokens from a short prompt, again and again.

    benchmarks/sampling.py [--tokens 200] [--rounds 11] [--against REPRISE] [--set KEY=VALUE]...

With another build's program the two run in turn. Prints minimum, median and maximum, in seconds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "tests" / "program"))
from harness import ENVIRONMENT, REPRISE, write_data  # noqa: E402


def seconds_of(command):
    started = time.monotonic()
    result = subprocess.run([*map(str, command)], env=ENVIRONMENT, capture_output=True, text=True, errors="replace",
                            check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {result.returncode}\n{result.stderr}")
    return time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--against")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the model that is sampled")
    options = parser.parse_args()
    programs = [REPRISE] + ([options.against] if options.against else [])
    with tempfile.TemporaryDirectory() as folder:
        data, run = write_data(Path(folder, "data"), 50000, 5000), Path(folder, "run")
        seconds_of([REPRISE, "train", SOURCE / "configs" / "quickstart.yaml", "run.steps=2", "run.device=cpu",
                    f"data.directory={data}", f"run.directory={run}", "monitoring.evaluate_every=0",
                    "monitoring.prometheus.enabled=false", *options.set])
        seconds = {program: [] for program in programs}
        for _ in range(options.rounds):
            for program in programs:
                seconds[program].append(
                    seconds_of([program, "sample", run, "--prompt", "the ", "--tokens", options.tokens]))
    print(f"{options.tokens} tokens, {options.rounds} rounds     min  median     max")
    for program, samples in seconds.items():
        print(f"{min(samples):28.3f} {statistics.median(samples):7.3f} {max(samples):7.3f}  {program}")


if __name__ == "__main__":
    main()
