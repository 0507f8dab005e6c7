# ctest-labels: root
# ctest-timeout: 300
"""In a memory cgroup where keeping everything is killed, `budget: 90%` trains to the end, with the weights of a run
that has all the memory of the machine."""

import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

from harness import DONE, ENVIRONMENT, REPRISE, ProgramTest, Run, settings

LIMIT_BYTES = 480 << 20
MODEL = {"family": "gpt2", "layers": 12, "width": 256, "heads": 4, "context": 256}
ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """A cgroup with a memory limit, of either version; processes join it by themselves."""

    def __init__(self, limit_bytes):
        is_second = (ROOT / "cgroup.controllers").exists()
        parent = ROOT if is_second else ROOT / "memory"
        self.path = parent / f"reprise-test-{os.getpid()}"
        self.path.mkdir()
        limits = ["memory.max"] if is_second else ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        for name in limits:
            if (self.path / name).exists():
                (self.path / name).write_text(str(limit_bytes))
        if is_second:
            (self.path / "memory.swap.max").write_text("0")

    def join(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def close(self):
        self.path.rmdir()


def why_not():
    if os.geteuid() != 0:
        return "needs root"
    controllers = ROOT / "cgroup.subtree_control"
    if (ROOT / "memory").is_dir() or (controllers.exists() and "memory" in controllers.read_text().split()):
        return None
    return "no memory controller in /sys/fs/cgroup"


class Budget(ProgramTest):
    def train(self, group, *overrides):
        folder = self.new_run_folder()
        values = {"run": {"directory": str(folder), "steps": 3}, "model": MODEL,
                  "batch": {"global_sequences": 8, "micro_sequences": 8}}
        result = subprocess.run([REPRISE, "train", self.config, *settings(values), *overrides], env=ENVIRONMENT,
                                timeout=240, capture_output=True, text=True, preexec_fn=group.join if group else None)
        return folder, result

    def test_trains_where_keeping_everything_is_killed(self):
        folder, result = self.train(None, "checkpointing.policy=none")
        self.assertEqual(result.returncode, DONE, result.stderr)
        outcome = Run(folder).outcome
        group = MemoryGroup(LIMIT_BYTES)
        self.addCleanup(group.close)
        _, result = self.train(group, "checkpointing.policy=none")
        self.assertEqual(result.returncode, -signal.SIGKILL, result.stdout)
        folder, result = self.train(group, "checkpointing.policy=budget", "checkpointing.budget=90%")
        self.assertEqual(result.returncode, DONE, f"{result.stdout}\n{result.stderr}")
        self.assertEqual(Run(folder).outcome, outcome)
        print(result.stdout, file=sys.stderr)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        sys.exit(f"memory_cgroup_test cannot run here: {reason}")
    unittest.main()
