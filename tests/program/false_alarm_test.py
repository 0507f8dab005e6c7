# ctest-labels: slow
# ctest-timeout: 900
"""Four ranks on this machine's cores, stopped and slowed down at random, each time for less than the limit, for
REPRISE_CALM_SECONDS (600): no verdict, and the run goes on."""

import os
import random
import signal
import subprocess
import sys
import time
import unittest

from harness import RunningTest, mpirun_command, ranks_of, settings

SECONDS = float(os.environ.get("REPRISE_CALM_SECONDS", "600"))
DEADLINE_SECONDS = 3


class FalseAlarm(RunningTest):
    def test_slow_downs_end_nothing(self):
        values = {"run": {"directory": str(self.run_folder), "steps": 10000000}, "batch": {"global_sequences": 24},
                  "distributed": {"deadline": f"{DEADLINE_SECONDS}s"}, "snapshot": {"every_steps": 20}}
        job = self.start(mpirun_command(4, "train", self.config, *settings(values)))
        os.set_blocking(job.stderr.fileno(), False)
        ends, stops, errors, busy = time.monotonic() + SECONDS, 0, "", []
        while time.monotonic() < ends:
            if random.random() < 0.2:  # others compute, too
                loop = ["timeout", f"{random.uniform(0.5, 4):.1f}", "sh", "-c", "while :; do :; done"]
                busy.append(subprocess.Popen(loop))
            pid = random.choice(list(ranks_of(self.run_folder).values()))
            os.kill(pid, signal.SIGSTOP)
            time.sleep(random.uniform(0.05, DEADLINE_SECONDS / 3))
            os.kill(pid, signal.SIGCONT)
            stops += 1
            time.sleep(random.uniform(0, 1))
            try:
                errors += os.read(job.stderr.fileno(), 1 << 16).decode(errors="replace")
            except BlockingIOError:
                pass  # nothing was said
            self.assertIsNone(job.poll(), errors)
        for process in busy:
            process.wait()
        print(f"{stops} stops in {SECONDS:.0f} s, {self.steps()} steps", file=sys.stderr)
        lines = [line for line in errors.splitlines() if line.startswith("reprise: ")]
        self.assertEqual([line for line in lines if "warning: " not in line], [])


if __name__ == "__main__":
    unittest.main()
