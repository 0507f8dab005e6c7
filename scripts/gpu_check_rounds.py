"""Interleaved timings for scripts/gpu_check.py: our run without recomputation, our run at half of the activation bytes,
PyTorch eager and torch.compile take turns, each block from the same weights over the same tokens. Ratios are formed
within a round, so that a clock that drifts between rounds does not enter; their spread stands beside them."""

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS, LEARNING_RATE = 3, 1e-4
HALF = "ours at half the activation bytes"
BACKENDS = {"cuda": "inductor", "cpu": "aot_eager"}  # a rehearsal needs no code generator


def find_python(device):
    """An interpreter that imports torch and sees the device, or None."""
    cache = Path(os.environ.get("REPRISE_CACHE", Path.home() / ".cache" / "reprise"))
    test = "import torch; torch.ones(1, device='%s')" % device
    for python in (os.environ.get("REPRISE_PYTHON"), sys.executable, "python3", cache / "venv/bin/python"):
        try:
            if python and subprocess.run([python, "-c", test], capture_output=True, timeout=60).returncode == 0:
                return str(python)
        except (OSError, subprocess.TimeoutExpired):
            pass
    return None


class TorchPeer:
    """The process of gpu_check_torch.py; between blocks it waits and leaves the device alone."""

    def __init__(self, check, python, setting):
        script = Path(__file__).with_name("gpu_check_torch.py")
        self.check, self.errors, self.refusal = check, check.folder / "torch.log", ""
        with self.errors.open("w") as log:
            self.process = subprocess.Popen([python, str(script), json.dumps(setting)], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=log, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def read(self, limit):
        """An answer; after one that did not come in time, nothing that comes later could be told apart."""
        if self.refusal:
            return {"refused": self.refusal}
        ready, _, _ = select.select([self.process.stdout], [], [], max(1, min(limit, self.check.seconds_left() - 30)))
        line = self.process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        said = (self.errors.read_text().strip().splitlines() or ["nothing"])[-1]
        self.refusal = f"PyTorch's process ended: {said[-300:]}" if ready else "PyTorch: no answer in time"
        return {"refused": self.refusal}

    def block(self, kind, steps, limit=150):
        try:
            self.process.stdin.write(f"{kind} {steps}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.read(limit)


def spread(samples):
    return {"median": statistics.median(samples), "least": min(samples), "most": max(samples), "rounds": len(samples)}


def start_peer(check, model, precision, weights):
    """(peer, version), or (None, why there is none)."""
    python = find_python(check.device)
    if not python:
        return None, f"no Python here whose torch sees a {check.device} device; REPRISE_PYTHON names one"
    setting = {"weights": str(weights), "shard": str(check.data(model) / "train_000000.bin"), "device": check.device,
               "precision": precision, "backend": BACKENDS[check.device], "layers": model["model.layers"],
               "heads": model["model.heads"], "context": model["model.context"],
               "vocabulary": model["model.vocabulary"], "sequences": model["batch.global_sequences"],
               "learning_rate": LEARNING_RATE}
    peer = TorchPeer(check, python, setting)
    hello = peer.read(90)
    return peer, hello.get("torch") or hello["refused"]


class Rounds:
    """Collects the blocks of all contenders; a contender that refuses once is left out from then on."""

    def __init__(self, check, model, precision, speed_of):
        self.check, self.model, self.precision, self.speed_of = check, model, precision, speed_of
        self.steps = 6 if check.is_rehearsal else 20
        self.rows, self.seconds, self.losses = {}, {}, {}

    def ours(self, name, **changes):
        _, events = self.check.train(self.model, self.steps, precision__compute=self.precision,
                                     optimizer__learning_rate=LEARNING_RATE, **changes)
        self.rows[name] = self.speed_of(self.check, events, self.precision)
        self.add(name, self.rows[name]["step_seconds"], [step["loss"] for step in events["step"]])

    def torch(self, peer, name, is_warm_up=False):
        if "not_tried" in self.rows.get(name, {}):
            return
        answer = peer.block(name.split()[-1], 3 if is_warm_up else self.steps)
        if "refused" in answer:
            self.rows[name] = {"not_tried": answer["refused"]}
            self.seconds.pop(name, None)
        if "refused" in answer or is_warm_up:
            return
        self.rows[name] = {"peak_bytes": answer.get("peak_bytes")}
        self.add(name, statistics.median(answer["step_seconds"][self.steps // 3:]), answer["losses"])

    def add(self, name, seconds, losses):
        self.seconds.setdefault(name, []).append(seconds)
        self.losses[name] = losses

    def results(self):
        tokens = self.model["batch.global_sequences"] * self.model["model.context"]
        for name, samples in self.seconds.items():
            row = self.rows[name]
            row["tokens_per_second"] = tokens / statistics.median(samples)
            row["step_seconds"] = spread(samples)
            row["step_seconds_over_ours"] = spread([a / b for a, b in zip(samples, self.seconds["ours"])])
            row["largest_loss_difference"] = max(abs(a - b) for a, b in zip(self.losses[name], self.losses["ours"]))
        return self.rows


def interleaved(check, model, precision, speed_of, budget_bytes):
    """{contender: row}, and what PyTorch there was."""
    folder, _ = check.train(model, 1, optimizer__learning_rate=1e-30)  # too small to move a weight: the initial ones
    peer, version = start_peer(check, model, precision, folder / "final" / "model.safetensors")
    rounds = Rounds(check, model, precision, speed_of)
    peers = ("PyTorch, eager", "PyTorch, compile") if peer else ()
    with peer or contextlib.nullcontext():
        for name in peers:  # the second one compiles now
            rounds.torch(peer, name, is_warm_up=True)
        started = time.monotonic()
        for number in range(ROUNDS):
            if number and check.seconds_left() < 1.5 * (time.monotonic() - started) / number:
                break
            rounds.ours("ours", checkpointing__policy="none")
            rounds.ours(HALF, checkpointing__policy="budget", checkpointing__budget=budget_bytes)
            for name in peers:
                rounds.torch(peer, name)
    return {"torch": version, "precision": precision, "contenders": rounds.results()}
