# ctest-labels: slow
# ctest-timeout: 7200
"""Runs that are killed again and again, at random instants, and must end with the weights of the undisturbed one.

REPRISE_KILLS: how many kills of the whole job; half as many are added while nearly always a save is under way, and a
tenth as many of one rank.
"""

import json
import os
import random
import signal
import subprocess
import time
import unittest

from harness import ENVIRONMENT, ProgramTest, Run, mpirun_command, ranks_of, settings

KILLS = int(os.environ.get("REPRISE_KILLS", "200"))
STEPS = 3000


class Kills(ProgramTest):
    def start(self, folder, every):
        arguments = ["train", self.config, f"run.directory={folder}",
                     *settings({"run": {"steps": STEPS}, "snapshot": {"every_steps": every}})]
        return subprocess.Popen(mpirun_command(2, *arguments), env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def kill_after(self, job, folder, seconds, ranks):
        """True: some step of this start was done before; the kill counts."""
        began = time.monotonic()
        while time.monotonic() - began < seconds and job.poll() is None:
            time.sleep(0.01)
        killed = job.poll() is None
        for rank, pid in ranks_of(folder).items():
            if rank in ranks:
                os.kill(pid, signal.SIGKILL)
        output, _ = job.communicate(timeout=120)
        if not killed:
            self.assertEqual(job.returncode, 0, output)
        return killed

    def test_every_run_ends_with_the_same_weights(self):
        generator = random.Random(17)
        job = self.start(self.folder / "whole", 0)
        output, _ = job.communicate(timeout=600)
        self.assertEqual(job.returncode, 0, output)
        whole = Run(self.folder / "whole")
        kinds = {"whole job": (KILLS, 25, (0, 1)), "during saves": (KILLS // 2, 1, (0, 1)),
                 "one rank": (KILLS // 10, 25, (1,))}
        for kind, (wanted, every, ranks) in kinds.items():
            kills, runs = 0, 0
            while kills < wanted:
                runs += 1
                folder = self.folder / f"{kind.replace(' ', '_')}{runs}"
                while not (folder / "final").exists():
                    # Past the start (about 1.5 s), so that steps are done and a whole run takes a handful of kills.
                    kills += self.kill_after(self.start(folder, every), folder, generator.uniform(1.2, 4), ranks)
                run = Run(folder)
                self.assertEqual(run.weights, whole.weights, f"{kind}, run {runs}")
                self.assertEqual(run.losses, whole.losses, f"{kind}, run {runs}")
                subprocess.run(["rm", "-r", folder], check=True)
            print(f"{kind}: {kills} kills in {runs} runs, every one ended with {whole.weights}", flush=True)


if __name__ == "__main__":
    unittest.main()
