"""Rank 1 is killed or stopped in the middle of a run: the job ends within its limit with the documented code and one
message, no process stays behind, and what lies on disk is not taken for a finished run."""

import os
import re
import signal
import socket
import time
import unittest

from harness import LOST, MPIRUN, PEER_LOST, REPRISE, RunningTest, mpirun_command, ranks_of, run

DEADLINE_SECONDS = 2
LIMIT_SECONDS = 15  # the deadline, mpirun's way to end a job, and a slow machine


class LostPeer(RunningTest):
    def run_of(self, policy):
        return self.start(mpirun_command(
            2, "train", self.config, f"run.directory={self.run_folder}", "run.steps=100000",
            f"distributed.deadline={DEADLINE_SECONDS}s", f"checkpointing.policy={policy}"))

    def signal_rank_1(self, job, number):
        """Sends the signal and returns exit code, errors and seconds until the job ended."""
        ranks = ranks_of(self.run_folder)
        self.assertEqual(sorted(ranks), [0, 1])
        os.kill(ranks[1], number)
        sent = time.monotonic()
        _, errors = job.communicate(timeout=LIMIT_SECONDS)
        seconds = time.monotonic() - sent
        self.require_unfinished()
        return job.returncode, errors, seconds

    def test_killed(self):
        job = self.run_of("every")
        code, errors, seconds = self.signal_rank_1(job, signal.SIGKILL)
        self.assertIn(code, LOST, errors)
        self.assertLess(seconds, LIMIT_SECONDS)
        self.assertLessEqual(len(re.findall("^reprise: ", errors, re.MULTILINE)), 1, errors)

    def test_stopped(self):
        job = self.run_of("full")
        code, errors, seconds = self.signal_rank_1(job, signal.SIGSTOP)
        self.assertEqual(code, PEER_LOST, errors)
        self.assertGreaterEqual(seconds, DEADLINE_SECONDS * 0.9)
        self.assertLess(seconds, LIMIT_SECONDS)
        messages = [line for line in errors.splitlines() if line.startswith("reprise: ")]
        self.assertEqual(len(messages), 1, errors)
        self.assertRegex(messages[0], rf"rank 1\b.*{socket.gethostname()}")
        self.assertRegex(messages[0], r"step \d+")

    def test_never_starts(self):
        started = time.monotonic()
        result = run([*MPIRUN, "-np", "1", REPRISE, "train", str(self.config), f"run.directory={self.run_folder}",
                      "distributed.deadline=0.2s", ":", "-np", "1", "sleep", "50"], timeout=40)
        self.assert_fails(result, PEER_LOST, "rank 0 of 2: the start of MPI has not ended within 2.0 s")
        self.assertLess(time.monotonic() - started, LIMIT_SECONDS)
        self.assertFalse(self.run_folder.exists())


if __name__ == "__main__":
    unittest.main()
