# ctest-labels: root network
# ctest-timeout: 300
"""Two hosts, a step that is on the wire most of the time: the peer stops or dies, the link is cut, for a moment or for
good, or one way. Short cuts are survived; else every rank ends within its limit, the terminal names rank, host and
step, and the far side's file says how it saw that."""

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

    def require_named(self, messages, finding):
        self.assertEqual(len(messages), 1, messages)
        self.assertRegex(messages[0], rf"^reprise: rank 1 on h2 {finding}.* step \d+, ")

    def test_stopped(self):
        job = self.run_with(2)
        os.kill(ranks_of(self.run_folder)[1], signal.SIGSTOP)
        code, messages, seconds = self.finish(job, 30)
        self.assertEqual(code, PEER_LOST)
        self.require_named(messages, "is silent: no sign of life")
        self.assertLess(seconds, 12)
        self.require_unfinished()

    def test_killed(self):
        job = self.run_with(2)
        os.kill(ranks_of(self.run_folder)[1], signal.SIGKILL)
        code, messages, seconds = self.finish(job, 30)
        self.assertIn(code, LOST)
        self.require_named(messages, "is dead: no heartbeat")
        self.assertLess(seconds, 12)
        self.require_unfinished()

    def test_survives_short_cuts(self):
        job = self.run_with(10)
        for seconds in (1, 2, 3):
            self.hosts.cut()
            time.sleep(seconds)
            self.hosts.heal()
            self.wait_for_steps(job, self.steps() + 5)
        self.assertIsNone(job.poll())

    def require_both_sides_end(self, job):
        started = time.monotonic()
        message = next(line for line in job.stderr if line.startswith("reprise: "))
        print(f"named after {time.monotonic() - started:.1f} s: {message}", file=sys.stderr)
        self.require_named([message], "is silent")
        while ranks_of(self.run_folder) and time.monotonic() < started + 20:
            time.sleep(0.1)
        self.assertLess(time.monotonic() - started, 15)
        self.require_unfinished()
        far = (self.run_folder / "rank1.events").read_text().splitlines()
        print(f"the far side after {time.monotonic() - started:.1f} s at most: {far[0]}", file=sys.stderr)
        return far[0]

    def test_cut_for_good(self):
        job = self.run_with(4)  # less than mpirun needs to notice by itself
        self.hosts.cut()
        self.assertRegex(self.require_both_sides_end(job), "^# rank 1 on h2: rank 0 on h1 is silent")
        # mpirun waits for its daemon beyond the cut until TCP gives up, a quarter of an hour by default.
        self.hosts.heal()
        code, _, _ = self.finish(job, 60)
        self.assertIn(code, {PEER_LOST, MPIRUN_LOST_HOST} | LOST)

    def test_cut_one_way(self):
        job = self.run_with(4)
        self.hosts.lose_one_way()
        self.assertRegex(self.require_both_sides_end(job), "^# rank 1 on h2: ")


if __name__ == "__main__":
    reason = why_not()
    if reason:
        sys.exit(f"network_faults_test cannot run here: {reason}")
    unittest.main()
