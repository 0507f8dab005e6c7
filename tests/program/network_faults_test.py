# ctest-labels: root network
# ctest-timeout: 300
"""Two hosts, a step that is on the wire most of the time: the peer stops or dies, the link is cut for three seconds or
for good. The short cut is survived; else every rank ends within its limit and a message names rank, host and step."""

import os
import signal
import sys
import time
import unittest

from harness import LOST, PEER_LOST, REPRISE, RunningTest, ranks_of, settings
from two_hosts import TwoHosts, why_not

MODEL = {"family": "gpt2", "layers": 3, "width": 192, "heads": 6, "context": 64, "vocabulary": 512, "dropout": 0.0}
MPIRUN_LOST_HOST = 205


class NetworkFaults(RunningTest):
    def run_with(self, deadline_seconds):
        self.hosts = self.enterContext(TwoHosts("100mbit"))
        values = {"run": {"directory": str(self.run_folder), "steps": 100000}, "model": MODEL,
                  "batch": {"global_sequences": 4, "micro_sequences": 2},
                  "distributed": {"deadline": f"{deadline_seconds}s", "bucket_bytes": "1MiB"}}
        return self.start(self.hosts.mpirun_command([REPRISE, "train", self.config, *settings(values)]))

    def finish(self, job, limit_seconds):
        """Exit code, the program's own messages, and seconds until the job was over."""
        started = time.monotonic()
        _, errors = job.communicate(timeout=limit_seconds)
        seconds = time.monotonic() - started
        print(f"exit {job.returncode} after {seconds:.1f} s:\n{errors}", file=sys.stderr)
        return job.returncode, [line for line in errors.splitlines() if line.startswith("reprise: ")], seconds

    def require_named(self, messages):
        self.assertEqual(len(messages), 1, messages)
        self.assertRegex(messages[0], r"no answer from rank 1 on h2 .* during step \d+")

    def test_stopped(self):
        job = self.run_with(2)
        os.kill(ranks_of(self.run_folder)[1], signal.SIGSTOP)
        code, messages, seconds = self.finish(job, 30)
        self.assertEqual(code, PEER_LOST)
        self.require_named(messages)
        self.assertRegex(messages[0], r"gradient bucket \d+ of \d+")
        self.assertLess(seconds, 12)
        self.require_unfinished()

    def test_killed(self):
        job = self.run_with(2)
        os.kill(ranks_of(self.run_folder)[1], signal.SIGKILL)
        code, messages, seconds = self.finish(job, 30)
        self.assertIn(code, LOST)
        self.assertLessEqual(len(messages), 1)
        self.assertLess(seconds, 12)
        self.require_unfinished()

    def test_survives_a_short_cut(self):
        job = self.run_with(10)
        self.hosts.cut()
        time.sleep(3)
        self.hosts.heal()
        self.wait_for_steps(job, self.steps() + 5)
        self.assertIsNone(job.poll())

    def test_cut_for_good(self):
        job = self.run_with(4)  # less than mpirun needs to notice by itself
        self.hosts.cut()
        started = time.monotonic()
        message = next(line for line in job.stderr if line.startswith("reprise: "))
        self.require_named([message])
        while ranks_of(self.run_folder) and time.monotonic() < started + 20:
            time.sleep(0.1)
        self.assertLess(time.monotonic() - started, 15)
        self.require_unfinished()
        # mpirun waits for its daemon beyond the cut until TCP gives up, a quarter of an hour by default.
        self.hosts.heal()
        code, _, _ = self.finish(job, 60)
        self.assertIn(code, {PEER_LOST, MPIRUN_LOST_HOST} | LOST)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        sys.exit(f"network_faults_test cannot run here: {reason}")
    unittest.main()
