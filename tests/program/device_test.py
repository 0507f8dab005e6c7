"""Where a run computes: what a machine without a GPU refuses, and memory that runs out in spite of the plan."""

import os
import re
import resource
import subprocess
import unittest

from harness import (CONFIGURATION, DONE, ENVIRONMENT, NOTHING_FITS, REPRISE, ProgramTest, mpirun_command, reprise, run,
                     settings)

LARGE = {"layers": 8, "width": 128, "context": 256, "heads": 4}  # keeps hundreds of MiB under policy none
BATCH = {"global_sequences": 16, "micro_sequences": 16}


def peak_of(command):
    """A program's outcome and the largest address space it had, in bytes."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        while process.poll() is None:
            try:
                with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
                    sizes = [line.split()[1] for line in status if line.startswith("VmPeak:")]
                peak = max(peak, *(1024 * int(size) for size in sizes), 0)
            except (FileNotFoundError, ProcessLookupError):
                pass
        return process.returncode, peak


class Device(ProgramTest):
    def train_command(self, name, **sections):
        return ["train", str(self.config), f"run.directory={self.folder / name}", *settings(sections)]

    @unittest.skipIf(os.path.exists("/proc/driver/nvidia/version"), "a machine with a GPU")
    def test_a_device_that_is_not_there(self):
        for ranks in (1, 2):
            command = self.train_command("run", run={"device": "cuda"})
            result = run(mpirun_command(ranks, *command))
            self.assert_fails(result, CONFIGURATION, "run.device", "expected cpu", "got cuda")
        result = reprise(*self.train_command("run", distributed={"backend": "nccl"}))
        self.assert_fails(result, CONFIGURATION, "distributed.backend", "mpi on the CPU")
        self.assertFalse((self.folder / "run").exists())

    def test_auto_takes_the_cpu_and_says_so(self):
        command = self.train_command("run", run={"device": "auto" if not os.path.exists("/dev/nvidia0") else "cpu"})
        self.assertEqual(reprise(*command).returncode, DONE)
        written = (self.folder / "run" / "config.yaml").read_text()
        self.assertRegex(written, r"device: cpu\b")
        self.assertRegex(written, r"backend: mpi\b")

    def test_memory_that_runs_out(self):
        sections = {"model": LARGE, "batch": BATCH, "run": {"steps": 1}, "checkpointing": {"policy": "full"}}
        outcome, small = peak_of([REPRISE, *self.train_command("small", **sections)])
        self.assertEqual(outcome, DONE)
        limit = small + (40 << 20)
        limited = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))}
        checkpointing = {"policy": "none"}
        for attempt in range(3):  # following the message ends in a run that fits
            command = self.train_command(f"large{attempt}", **{**sections, "checkpointing": checkpointing})
            result = run([REPRISE, *command], **limited)
            if attempt > 0 and result.returncode == DONE:
                return
            self.assert_fails(result, NOTHING_FITS, "rank 0", "step 1", "planned", "under plan =",
                              "checkpointing.policy: budget with checkpointing.budget: ", "a peak of")
            budget = re.search(r"checkpointing.budget: (\d+)", result.stderr).group(1)
            checkpointing = {"policy": "budget", "budget": budget}
        self.fail(result.stderr)


if __name__ == "__main__":
    unittest.main()
