#!/usr/bin/env python3
"""What clients of /metrics cost a run: time and processor time of a step, left alone, scraped once a second, besieged.

Trains on two ranks and lets these take turns, so that a machine's drift meets them alike; prints the medians over all
steps of each kind. Besieged: 1,000 connections to each rank that send nothing, half a request, or garbage. As the
clients run on the ranks' own cores, they also besiege listeners that never answer: what the clients cost by themselves.

    benchmarks/scrapes.py [--rounds 6] [--seconds 10] [key.sub=value ...]

on the quickstart's model and made-up text.
"""

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "tests" / "program"))
from harness import ENVIRONMENT, mpirun_command, ranks_of, write_data  # noqa: E402

CONNECTIONS = 1000  # to each rank
PAYLOADS = [b"", b"GET /metr", b"\x16\x03\x01\xff" * 1024]


def scrape(targets, ended):
    while not ended.wait(1):
        for target in targets:
            try:
                urllib.request.urlopen(f"http://{target}/metrics", timeout=10).read()
            except OSError:
                print(f"{target} did not answer within 10 s", file=sys.stderr)


def besiege(targets, ended):
    while not ended.is_set():
        clients = [socket.socket() for _ in range(CONNECTIONS * len(targets))]
        for i, client in enumerate(clients):
            host, port = targets[i % len(targets)].rsplit(":", 1)
            client.setblocking(False)
            client.connect_ex((host, int(port)))
        ended.wait(0.5)
        for i, client in enumerate(clients):
            try:
                client.send(PAYLOADS[i % len(PAYLOADS)])
            except OSError:
                pass  # not accepted yet, or closed by the server
        ended.wait(2)
        for client in clients:
            client.close()


def besiege_nobody(targets, ended):
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=100) for _ in targets]
    besiege([f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners], ended)
    for listener in listeners:
        listener.close()


def processor_seconds(folder):
    ticks = 0
    for pid in ranks_of(folder).values():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def steps_of(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record["step_seconds"] for record in map(json.loads, lines) if record["event"] == "step"]


def measure(options, folder):
    data = write_data(folder.parent / "data", 500000, 20000)
    job = subprocess.Popen(mpirun_command(2, "train", SOURCE / "configs" / "quickstart.yaml", f"run.directory={folder}",
                                          f"data.directory={data}", "run.steps=1000000", "run.device=cpu",
                                          "monitoring.evaluate_every=0", "snapshot.every_steps=0", *options.set),
                           env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    try:
        while not (folder / "metrics.jsonl").exists() or len(steps_of(folder)) < 20:
            time.sleep(0.2)
        targets = [group["targets"][0] for group in json.loads((folder / "prometheus_sd.json").read_text())]
        kinds = {"left alone": None, "scraped once a second": scrape, "besieged": besiege,
                 "others besieged": besiege_nobody}
        steps, processor = {kind: [] for kind in kinds}, dict.fromkeys(kinds, 0.0)
        for _ in range(options.rounds):
            for kind, client in kinds.items():
                ended, before, first = threading.Event(), processor_seconds(folder), len(steps_of(folder))
                thread = threading.Thread(target=client or (lambda *_: None), args=(targets, ended))
                thread.start()
                time.sleep(options.seconds)
                steps[kind] += steps_of(folder)[first:]
                processor[kind] += processor_seconds(folder) - before
                ended.set()
                thread.join()
        return steps, processor
    finally:
        for pid in ranks_of(folder).values():
            os.kill(pid, 9)
        job.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="*", help="settings of the run: key.sub=value")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory() as folder:
        steps, processor = measure(options, Path(folder) / "run")
    alone = statistics.median(steps["left alone"])
    alone_processor = processor["left alone"] / len(steps["left alone"])
    for kind, seconds in steps.items():
        middle, own = statistics.median(seconds), processor[kind] / len(seconds)
        print(f"{kind:<22} {len(seconds):>6} steps  "
              f"{1e3 * middle:8.2f} ms a step ({100 * (middle / alone - 1):+.2f} %)  "
              f"{1e3 * own:8.2f} ms cpu ({100 * (own / alone_processor - 1):+.2f} %)")


if __name__ == "__main__":
    main()
