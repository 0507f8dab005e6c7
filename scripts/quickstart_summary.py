"""Reads a quickstart's run and its two proof runs and prints what came out; exits 1 when the proof does not hold."""

import json
import math
import re
import statistics
import struct
import sys
from pathlib import Path

# Parameters, gradients and two moments; in bf16 also the copy of the parameters that computes.
STATE_COPIES = {"fp32": 4, "bf16": 4.5}


def events_of(run):
    events = {"start": [], "step": [], "evaluation": [], "end": []}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        events[record["event"]].append(record)
    return events


def weight_bytes(run):
    """Bytes of all parameters: the safetensors file without its header."""
    path = run / "final" / "model.safetensors"
    with path.open("rb") as file:
        (header,) = struct.unpack("<Q", file.read(8))
    return path.stat().st_size - 8 - header


def precision_of(run):
    return re.search(r"^ *compute: *(\w+)", (run / "config.yaml").read_text(), re.MULTILINE)[1]


def mib(count):
    return f"{count / 2**20:.1f} MiB"


def measured(run):
    """What a proof run shows: the hash of its weights and its activation bytes, the peak without the state."""
    end = events_of(run)["end"][0]
    return end["weights_xxh3"], end["peak_bytes_max"] - STATE_COPIES[precision_of(run)] * weight_bytes(run)


def main():
    run = Path(sys.argv[1])
    events = events_of(run)
    start, end = events["start"][0], events["end"][0]
    first, last = events["evaluation"][0], events["evaluation"][-1]
    step_seconds = statistics.median(step["step_seconds"] for step in events["step"])
    expected = mib(end["planned_peak_bytes"]) if end.get("planned_peak_bytes") else "no prediction"
    plan_hash, plan_bytes = measured(run / "proof-plan")
    none_hash, none_bytes = measured(run / "proof-none")
    holds = plan_hash == none_hash
    rows = [
        ("held-out loss", f"{first['loss']:.3f} at step {first['step']}, {last['loss']:.3f} at step {last['step']}"
                          f" (nats per byte; {last['loss'] / math.log(2):.2f} bits)"),
        ("plan", f"{start['plan_origin']}   {start['plan']}"),
        ("", "one character a stage: = kept, r recomputed"),
        ("precision", precision_of(run) + (", for which this processor has instructions" if precision_of(run) == "bf16"
                                           else "")),
        ("peak tensor bytes", f"expected {expected}, measured {mib(end['peak_bytes_max'])}"),
        ("speed", f"{events['step'][-1]['tokens'] / step_seconds / start['ranks']:,.0f} tokens/s per rank,"
                  f" {start['ranks']} ranks"),
        ("the proof", f"20 steps recomputing:        weights_xxh3 {plan_hash}"),
        ("", f"20 steps keeping everything: weights_xxh3 {none_hash}"),
        ("", f"{'the same weights, bit for bit' if holds else 'THE WEIGHTS DIFFER'}, with {none_bytes / plan_bytes:.1f}"
             f" times fewer activation bytes ({mib(plan_bytes)} against {mib(none_bytes)})"),
        ("files", f"{run}/"),
        ("loss plot", f"{run}/loss.svg"),
        ("sample", f"{run}/sample.txt"),
    ]
    for name, text in rows:
        print(f"{name:<18} {text}")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
