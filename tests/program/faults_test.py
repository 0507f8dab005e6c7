# ctest-timeout: 420
"""Ranks that die, freeze, hang or never start: one line names the rank and what it was at, the job ends within its
limit, and no process stays behind.

REPRISE_FAULTS: how often each fault is tried, at random instants; scripts/test.sh tries each once or twice.
"""

import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import unittest
from pathlib import Path

from harness import (BUILD, ENVIRONMENT, LOST, MPIRUN, PEER_LOST, REPRISE, RunningTest, mpirun_command, ranks_of, run,
                     settings)

FAULTS = int(os.environ.get("REPRISE_FAULTS", "1"))
DEADLINE_SECONDS = 2
LIMIT_SECONDS = 20  # the deadline, mpirun's way to end a job, and a slow machine
HOST = socket.gethostname()


class Faults(RunningTest):
    def begin(self, ranks=2, **sections):
        values = {"run": {"directory": str(self.run_folder), "steps": 1000000},
                  "distributed": {"deadline": f"{DEADLINE_SECONDS}s"}, "batch": {"global_sequences": 24},
                  "checkpointing": {"policy": "full"}, **sections}
        return self.start(mpirun_command(ranks, "train", self.config, *settings(values)))

    def strike(self, job, rank, number):
        """Sends the signal to the rank at a random instant, awaits the end and returns exit code and seconds until the
        line that says why, and until the job's end."""
        time.sleep(random.uniform(0, 0.3))
        os.kill(ranks_of(self.run_folder)[rank], number)
        struck = time.monotonic()
        self.line, named = "", 0.0
        for line in job.stderr:  # mpirun passes lines on as they come, and adds its own
            if line.startswith("reprise: "):
                self.assertEqual(self.line, "", f"a second line: {line}")
                self.line, named = line.strip(), time.monotonic() - struck
        code = job.wait(timeout=LIMIT_SECONDS)
        ended = time.monotonic() - struck
        self.require_unfinished()
        return code, named, ended

    def repeat(self, what, count, once):
        named, ended = zip(*[once(i) for i in range(count)])
        print(f"\n{count} x {what}: named after {statistics.median(named):.2f} s (at most {max(named):.2f}), "
              f"ended after {statistics.median(ended):.2f} s (at most {max(ended):.2f})", file=sys.stderr)

    def require_line(self, rank, words):
        self.assertRegex(self.line, rf"^reprise: rank {rank} on {re.escape(HOST)} {words}")
        self.assertRegex(self.line, r"step \d+, ")

    def pick(self, i, ranks):
        return random.randrange(ranks) if i else 0  # of rank 0 another one has to speak

    def new_run(self):
        self.run_folder = self.new_run_folder()

    def test_a_dead_rank_is_named(self):
        def once(i):
            self.new_run()
            ranks = 2 + i % 3
            rank, number = self.pick(i, ranks), [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT][i % 3]
            code, named, ended = self.strike(self.begin(ranks), rank, number)
            self.assertIn(code, LOST | {134})
            self.require_line(rank, "is dead: (its process ended at|no heartbeat for)")
            return named, ended
        self.repeat("dead", 2 * FAULTS, once)

    def test_a_frozen_rank_is_named(self):
        def once(i):
            self.new_run()
            ranks = 2 + i % 3
            rank = self.pick(i, ranks)
            job = self.begin(ranks, snapshot={"every_steps": 3})
            code, named, ended = self.strike(job, rank, signal.SIGSTOP)
            self.assertEqual(code, PEER_LOST)
            self.require_line(rank, r"is silent: no sign of life for \d+\.\d s, last seen at")
            self.assertGreater(named, DEADLINE_SECONDS - 0.5)
            for other in set(range(ranks)) - {rank}:
                events = (self.run_folder / f"rank{other}.events").read_text()
                self.assertIn(f"rank {other} on {HOST}: ", events)
                self.assertRegex(events, r"\d+\.\d{6} step \d+, backward of ")
            return named, ended
        self.repeat("frozen", 2 * FAULTS, once)

    def test_a_rank_that_no_collector_reaches_ends_the_job(self):
        job = self.begin(3)
        os.kill(ranks_of(self.run_folder)[0], signal.SIGSTOP)
        code, _, _ = self.strike(job, 1, signal.SIGSTOP)
        self.assertEqual(code, PEER_LOST)
        self.assertRegex(self.line, rf"^reprise: rank 2 on {re.escape(HOST)} is cut off: nothing from rank 0 on")

    def test_stuck_is_told_from_frozen(self):
        ENVIRONMENT["LD_PRELOAD"] = str(BUILD / "tests" / "stuck.so")
        self.addCleanup(ENVIRONMENT.pop, "LD_PRELOAD")

        def once(i):
            self.new_run()
            code, named, ended = self.strike(self.begin(), 1 - i % 2, signal.SIGRTMIN + 1 + i % 3)
            self.assertEqual(code, PEER_LOST)
            self.require_line(1 - i % 2, r"is stuck: alive, but for \d+\.\d s at")
            return named, ended
        self.repeat("stuck", 3 * FAULTS if FAULTS > 1 else 1, once)

    def test_a_hung_save_is_named(self):
        marker = self.folder / "hang"
        ENVIRONMENT.update(LD_PRELOAD=str(BUILD / "tests" / "stuck.so"), STUCK_SAVE=str(marker))
        self.addCleanup(ENVIRONMENT.pop, "LD_PRELOAD")
        self.addCleanup(ENVIRONMENT.pop, "STUCK_SAVE")

        def once(_):
            self.new_run()
            marker.unlink(missing_ok=True)
            job = self.begin(snapshot={"every_steps": 2}, distributed={"deadline": "1s"})  # a save may take ten
            marker.touch()
            code, named, ended = self.strike(job, 0, 0)
            self.assertEqual(code, PEER_LOST)
            self.assertRegex(self.line, r"is stuck: alive, but for \d+\.\d s at step \d+, save$")
            return named, ended
        self.repeat("hung save", FAULTS, once)

    def test_a_rank_frozen_in_a_save_gets_no_more_time(self):
        marker = self.folder / "hang"
        ENVIRONMENT.update(LD_PRELOAD=str(BUILD / "tests" / "stuck.so"), STUCK_SAVE=str(marker))
        self.addCleanup(ENVIRONMENT.pop, "LD_PRELOAD")
        self.addCleanup(ENVIRONMENT.pop, "STUCK_SAVE")
        job = self.begin(snapshot={"every_steps": 2})
        marker.touch()
        time.sleep(1)  # for training to wait for the save, for which it has ten deadlines
        code, named, _ = self.strike(job, 1, signal.SIGSTOP)
        self.assertEqual(code, PEER_LOST)
        self.require_line(1, r"is silent: .*, save; ")
        self.assertLess(named, 5 * DEADLINE_SECONDS)

    def test_no_rank_outlives_mpirun(self):
        job = self.begin(4)
        os.kill(ranks_of(self.run_folder)[2], signal.SIGSTOP)  # it cannot end by itself
        job.kill()
        started = time.monotonic()
        while ranks_of(self.run_folder):
            self.assertLess(time.monotonic() - started, 5)
            time.sleep(0.05)

    def test_no_rank_outlives_whatever_started_it(self):
        pipe = self.folder / "pipe.yaml"
        os.mkfifo(pipe)  # it waits for its configuration, and knows nothing of MPI yet
        parent = subprocess.Popen(["sh", "-c", f'{REPRISE} train "$CONFIG" & wait'],
                                  env={**ENVIRONMENT, "PMIX_RANK": "0", "CONFIG": str(pipe)})
        self.run_folder, started = pipe, time.monotonic()
        self.addCleanup(self.end, parent)
        while not self.is_blocked_in_open(ranks_of(pipe)):
            self.assertLess(time.monotonic() - started, 20)
            time.sleep(0.05)
        parent.kill()
        while ranks_of(pipe):
            self.assertLess(time.monotonic() - started, 30)
            time.sleep(0.05)

    def is_blocked_in_open(self, ranks):
        """The rank is past its first instructions: it sleeps, and has loaded what it needs."""
        try:
            return [pid for pid in ranks.values() if "wait_for_partner" in Path(f"/proc/{pid}/wchan").read_text()]
        except OSError:
            return []

    def test_a_rank_that_never_starts(self):
        started = time.monotonic()
        result = run([*MPIRUN, "-np", "1", REPRISE, "train", str(self.config), f"run.directory={self.run_folder}",
                      "distributed.deadline=0.2s", ":", "-np", "1", "sleep", "50"], timeout=40)
        self.assert_fails(result, PEER_LOST, "rank 0 of 2: the start of MPI has not ended within 2.0 s")
        self.assertLess(time.monotonic() - started, LIMIT_SECONDS)
        self.assertFalse(self.run_folder.exists())


if __name__ == "__main__":
    unittest.main()
