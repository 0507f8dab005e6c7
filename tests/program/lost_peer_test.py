"""Rank 1 is killed or stopped in the middle of a run: the job ends within its limit with the documented code and one
message, no process stays behind, and what lies on disk is not taken for a finished run."""

import os
import re
import signal
import socket
import subprocess
import time
import unittest
from pathlib import Path

from harness import ENVIRONMENT, LOST, PEER_LOST, ProgramTest, mpirun_command

DEADLINE_SECONDS = 2
LIMIT_SECONDS = 15  # the deadline, mpirun's way to end a job, and a slow machine


def ranks_of(folder):
    """{rank: pid} of the processes that train into the folder."""
    found = {}
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and str(folder) in (process / "cmdline").read_text():
                rank = re.search(r"OMPI_COMM_WORLD_RANK=(\d+)", (process / "environ").read_text())
                if rank:
                    found[int(rank.group(1))] = int(process.name)
        except OSError:
            pass  # it ended meanwhile
    return found


class LostPeer(ProgramTest):
    def start(self, policy):
        """A run of two ranks that would take minutes, past its first steps."""
        self.run_folder = self.new_run_folder()
        command = mpirun_command(2, "train", self.config, f"run.directory={self.run_folder}", "run.steps=100000",
                                 f"distributed.deadline={DEADLINE_SECONDS}s", f"checkpointing.policy={policy}")
        job = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, errors="replace")
        self.addCleanup(self.end, job)
        metrics = self.run_folder / "metrics.jsonl"
        started = time.monotonic()
        while not metrics.exists() or metrics.read_text().count('"step"') < 5:
            self.assertIsNone(job.poll(), "ended before its fifth step")
            self.assertLess(time.monotonic() - started, 60)
            time.sleep(0.05)
        return job

    def end(self, job):
        for pid in ranks_of(self.run_folder).values():
            os.kill(pid, signal.SIGKILL)
        job.kill()
        job.communicate()

    def signal_rank_1(self, job, number):
        """Sends the signal and returns exit code, errors and seconds until the job ended."""
        ranks = ranks_of(self.run_folder)
        self.assertEqual(sorted(ranks), [0, 1])
        os.kill(ranks[1], number)
        sent = time.monotonic()
        _, errors = job.communicate(timeout=LIMIT_SECONDS)
        seconds = time.monotonic() - sent
        time.sleep(0.2)
        self.assertEqual(ranks_of(self.run_folder), {}, "a rank stayed behind")
        self.assertFalse((self.run_folder / "final").exists())
        self.assertNotIn('"end"', (self.run_folder / "metrics.jsonl").read_text())
        return job.returncode, errors, seconds

    def test_killed(self):
        job = self.start("every")
        code, errors, seconds = self.signal_rank_1(job, signal.SIGKILL)
        self.assertIn(code, LOST, errors)
        self.assertLess(seconds, LIMIT_SECONDS)
        self.assertLessEqual(len(re.findall("^reprise: ", errors, re.MULTILINE)), 1, errors)

    def test_stopped(self):
        job = self.start("full")
        code, errors, seconds = self.signal_rank_1(job, signal.SIGSTOP)
        self.assertEqual(code, PEER_LOST, errors)
        self.assertGreaterEqual(seconds, DEADLINE_SECONDS * 0.9)
        self.assertLess(seconds, LIMIT_SECONDS)
        messages = [line for line in errors.splitlines() if line.startswith("reprise: ")]
        self.assertEqual(len(messages), 1, errors)
        self.assertRegex(messages[0], rf"rank 1\b.*{socket.gethostname()}")
        self.assertRegex(messages[0], r"step \d+")


if __name__ == "__main__":
    unittest.main()
