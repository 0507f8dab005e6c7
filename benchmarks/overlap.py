#!/usr/bin/env python3
"""Overlap of communication and recomputation between two hosts of one machine, against PyTorch's
DistributedDataParallel. Needs root, for network namespaces with a rate limit between them.

    benchmarks/overlap.py [--rates 0.2 0.5 1 2] [--repeats 3] [--rounds 5] [--peer PYTHON] [--out overlap.json]

PYTHON is an interpreter with torch 2.11 (`python3 -m venv peer; peer/bin/pip install torch==2.11.0 numpy`); without it
the peer is left out. At each rate Reprise and the peer run in turn, `repeats` times. Prints a table a rate.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "tests" / "program"))
from harness import ENVIRONMENT, REPRISE, settings  # noqa: E402
from two_hosts import SUBNET, TwoHosts, enter, why_not  # noqa: E402

MODEL = {"layers": 6, "width": 384, "heads": 6, "context": 256, "vocabulary": 2048}
SEQUENCES = 2      # of a rank
BUCKETS_MB = [1, 5, 25]
LINE_SHARE = 0.119 / 0.125  # what TCP leaves of a link for payload, at line rate


def run_reprise(hosts, rate, rounds, policies, extra):
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "overlap.yaml")
        config.write_text("data: {directory: none}\n")
        values = {"model": {**MODEL, "family": "gpt2", "dropout": 0.0},
                  "batch": {"global_sequences": 2 * SEQUENCES, "micro_sequences": SEQUENCES}}
        command = ["env", f"REPRISE_CACHE={folder}",  # costs of this hour, not of an earlier one
                   REPRISE, "bench", "overlap", config, *settings(values), "--rounds", rounds, "--policies", policies,
                   "--line-rate", str(int(rate * 1e9 / 8 * LINE_SHARE)), "--json", *extra]
        result = hosts.mpirun(command, ENVIRONMENT, timeout=600)
    if result.returncode != 0:
        sys.exit(f"reprise: exit {result.returncode}\n{result.stdout}{result.stderr}")
    print(result.stdout[:result.stdout.rindex("{\"rows")], flush=True)
    return json.loads(result.stdout.splitlines()[-1])["rows"]


def run_peer(hosts, python, rounds, port):
    processes = []
    for rank, host in enumerate(("h1", "h2")):
        setting = {"rank": rank, "address": f"tcp://{SUBNET}.1:{port}", "model": MODEL, "sequences": SEQUENCES,
                   "bucket_mb": BUCKETS_MB, "rounds": rounds}
        environment = {**ENVIRONMENT, "GLOO_SOCKET_IFNAME": "eth0"}
        processes.append(subprocess.Popen(
            [*enter(hosts.folder.name, host), python, str(SOURCE / "benchmarks" / "ddp_peer.py"), json.dumps(setting)],
            env=environment, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    if any(process.returncode != 0 for process in processes):
        sys.exit("the peer failed")
    return json.loads(outputs[0].splitlines()[-1])


def ratio_text(ratios):
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def compare(ours, peers):
    """Peer's step over ours, one ratio a repeat: with its best bucket and with its default of 25 MB."""
    rows = {}
    for policy in ("none", "full"):
        steps = [next(row for row in rows_of if row["policy"] == policy)["overlapped_seconds"]["median"]
                 for rows_of in ours]
        best = [min(bucket[policy]["median"] for bucket in peer["buckets"].values()) for peer in peers]
        default = [peer["buckets"]["25"][policy]["median"] for peer in peers]
        rows[policy] = {"best": [b / s for b, s in zip(best, steps)],
                        "default": [d / s for d, s in zip(default, steps)],
                        "peer_step_seconds": best, "step_seconds": steps}
        print(f"  {policy}: step {statistics.median(steps):.3f} s, peer {statistics.median(best):.3f} s; "
              f"peer's best bucket {ratio_text(rows[policy]['best'])} times ours, "
              f"its default {ratio_text(rows[policy]['default'])}", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.2, 0.5, 1, 2], help="Gbit/s")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--policies", default="none;full;every:2;budget;budget, no wire")
    parser.add_argument("--peer", help="Python interpreter with torch 2.11")
    parser.add_argument("--timelines", help="folder for SVGs, one folder in it a rate")
    parser.add_argument("--out", default="overlap.json")
    options = parser.parse_args()
    reason = why_not()
    if reason:
        sys.exit(f"overlap.py cannot run here: {reason}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the hosts go, too
    document = {}
    for rate in options.rates:
        print(f"\n{rate} Gbit/s", flush=True)
        ours, peers = [], []
        with TwoHosts(f"{rate}gbit") as hosts:
            for repeat in range(options.repeats):
                extra = ["--timelines", str(Path(options.timelines, str(rate)).resolve())] if options.timelines else []
                ours.append(run_reprise(hosts, rate, options.rounds, options.policies, extra))
                if options.peer:
                    peers.append(run_peer(hosts, options.peer, options.rounds, 29500 + repeat))
        document[str(rate)] = {"reprise": ours, "peer": peers, "ratios": compare(ours, peers) if peers else None}
        Path(options.out).write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
