# ctest-timeout: 300
"""A run that is asked to stop: by a signal at any instant, to any rank or to mpirun, or by run.max_seconds. It saves,
ends with exit code 85, and the same command goes on to the bits of the run that nobody disturbed. TERM saves nothing.

REPRISE_STOPS: how often one run is stopped; scripts/test.sh takes a few.
"""

import os
import random
import re
import resource
import signal
import subprocess
import time
import unittest
from pathlib import Path

from harness import (DONE, ENVIRONMENT, REPRISE, STOPPED, STORAGE, TERMINATED, Run, RunningTest, mpirun_command,
                     ranks_of, run, settings, write_data)

STOPS = int(os.environ.get("REPRISE_STOPS", "3"))
STEPS = 100 * STOPS


class StopTest(RunningTest):
    def command(self, ranks=2, **sections):
        arguments = ["train", self.config, f"run.directory={self.run_folder}",
                     *settings({"run": {"steps": STEPS}, **sections})]
        return [REPRISE, *map(str, arguments)] if ranks == 1 else mpirun_command(ranks, *arguments)

    def begin(self, command, **options):
        job = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, errors="replace", **options)
        self.addCleanup(self.end, job)
        return job

    def ended(self, job):
        output, errors = job.communicate(timeout=60)
        self.messages = [line for line in errors.splitlines() if line.startswith("reprise: ")]
        return job.returncode, f"{output}\n{errors}"

    def snapshots(self):
        return sorted(int(path.parent.name[9:]) for path in self.run_folder.glob("snapshots/snapshot-*/manifest.json"))

    def require_saved(self, job):
        """The job stops, and its last step is the newest snapshot. Returns that step."""
        code, output = self.ended(job)
        self.assertEqual(code, STOPPED, output)
        step = Run(self.run_folder).of("step")[-1]["step"]
        total = re.search(r"run\.steps=(\d+)", " ".join(job.args)).group(1)
        self.assertEqual(self.messages[-1], f"reprise: stopped, as asked, after step {step} of {total}; saved: the "
                                            "same command goes on")
        self.assertEqual(self.snapshots()[-1], step)
        self.require_unfinished()
        return step

    def require_same(self, whole):
        finished = Run(self.run_folder)
        self.assertEqual([record["step"] for record in finished.of("step")], list(range(1, len(whole.losses) + 1)))
        self.assertEqual(finished.outcome, whole.outcome)


class Signalled(StopTest):
    def test_again_and_again_to_the_same_bits(self):
        whole = self.train(2, timeout=60 + 20 * STOPS, run={"steps": STEPS})
        generator = random.Random(7)
        targets = [lambda job: ranks_of(self.run_folder)[1], lambda job: job.pid,
                   lambda job: ranks_of(self.run_folder)[0]]
        for leg in range(STOPS):
            # Saves due at no step, at every step (one is always under way) and at some.
            command = self.command(snapshot={"every_steps": (0, 1, 30)[leg % 3]})
            done = self.steps()
            with self.subTest(leg=leg, done=done):
                job = self.begin(command)
                self.wait_for_steps(job, done + generator.randint(1, 20))
                target = targets[leg % 3](job)
                for _ in range(1 + leg % 2):  # the second changes nothing
                    os.kill(target, (signal.SIGUSR1, signal.SIGUSR2)[leg // 2 % 2])
                self.require_saved(job)
                self.assertTrue(all(record["saved"] for record in Run(self.run_folder).of("snapshot")))
        result = run(command, timeout=60 + 20 * STOPS)
        self.assertEqual(result.returncode, DONE, result.stderr)
        self.require_same(whole)

    def test_before_the_first_step(self):
        job = self.begin(self.command(1))
        status = Path(f"/proc/{job.pid}/status")
        mask = 1 << signal.SIGUSR1 - 1
        while int(re.search(r"SigBlk:\s*(\w+)", status.read_text()).group(1), 16) & mask == 0:
            self.assertIsNone(job.poll())
            time.sleep(0.002)
        os.kill(job.pid, signal.SIGUSR1)
        self.assertEqual(self.require_saved(job), 1)

    def test_whatever_thread_the_kernel_would_give_the_signal_to(self):
        data = write_data(self.folder / "long", train_tokens=3000, validation_tokens=1101)
        command = self.command(1, run={"steps": 1000}, data={"directory": str(data)},
                               # Two threads compute so many angles, when the configuration is read.
                               model={"family": "llama", "layers": 1, "width": 64, "heads": 1, "context": 1100,
                                      "dropout": 0},
                               batch={"global_sequences": 1, "micro_sequences": 1})
        ENVIRONMENT.update(OMP_NUM_THREADS="2", OMP_WAIT_POLICY="passive")
        self.addCleanup(ENVIRONMENT.pop, "OMP_WAIT_POLICY")
        self.addCleanup(ENVIRONMENT.update, OMP_NUM_THREADS="1")
        job = self.begin(command)
        self.wait_for_steps(job, 1)
        blocked = [int(re.search(r"SigBlk:\s*(\w+)", path.read_text()).group(1), 16)
                   for path in Path(f"/proc/{job.pid}/task").glob("*/status")]
        open_to_it = sum(mask >> signal.SIGUSR1 - 1 & 1 == 0 for mask in blocked)
        self.assertLessEqual(open_to_it, 1, "a thread beside the one that waits for it")
        os.kill(job.pid, signal.SIGUSR1)
        self.require_saved(job)

    def test_what_cannot_be_saved_is_no_success(self):
        def allow_small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        job = self.begin(self.command(1, run={"steps": 100000}), preexec_fn=allow_small_files)
        self.wait_for_steps(job, 3)
        os.kill(job.pid, signal.SIGUSR1)
        code, output = self.ended(job)
        self.assertEqual(code, STORAGE, output)
        self.assertEqual(len(self.messages), 2, output)
        self.assertRegex(self.messages[0], r"snapshot of step \d+ is dropped: .* File too large$")
        self.assertRegex(self.messages[1], r"stopped, as asked, after step \d+ of 100000, which could not be saved$")
        self.assertEqual(self.snapshots(), [])


class OutOfTime(StopTest):
    def test_stops_in_time_and_goes_on(self):
        whole = self.train(2)
        started = time.time()
        job = self.begin(self.command(run={"steps": 10 ** 6, "max_seconds": 3}))
        self.require_saved(job)
        self.assertLess(Run(self.run_folder).of("snapshot")[-1]["time"] - started, 30)  # of hours
        # Hardly time for a step: each attempt makes one, and saves it.
        self.run_folder = self.new_run_folder()
        for step in (1, 2):
            job = self.begin(self.command(run={"steps": 20, "max_seconds": 0.01}))
            self.assertEqual(self.require_saved(job), step)
        self.assertEqual(run(self.command(run={"steps": 20})).returncode, DONE)
        self.require_same(whole)


class Terminated(StopTest):
    def test_saves_nothing_and_ends_at_once(self):
        for target, codes in (("mpirun", {1, TERMINATED}), ("a rank", {TERMINATED}), ("alone", {TERMINATED})):
            with self.subTest(target):
                self.run_folder = self.new_run_folder()
                command = self.command(1 if target == "alone" else 2, run={"steps": 10 ** 6},
                                       snapshot={"every_steps": 20})
                job = self.start(command)
                self.wait_for_steps(job, 25)
                sent = time.time()
                os.kill(ranks_of(self.run_folder)[1] if target == "a rank" else job.pid, signal.SIGTERM)
                code, output = self.ended(job)
                self.assertIn(code, codes, output)
                self.assertEqual(len(self.messages), 1, output)
                self.assertRegex(self.messages[0], "^reprise: TERM: ends at once and saves nothing")
                self.assertLess(Run(self.run_folder).of("step")[-1]["time"] - sent, 10)  # mpirun itself waits a second
                self.assertTrue(all(step % 20 == 0 for step in self.snapshots()))
                self.require_unfinished()


if __name__ == "__main__":
    unittest.main()
