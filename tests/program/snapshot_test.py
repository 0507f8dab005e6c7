# ctest-timeout: 300
"""Snapshots as a user meets them: a run goes on to the same bits wherever it stopped, with another plan or other ranks;
damaged snapshots, other settings and a second writer are told in a line.

REPRISE_STOPS: after how many steps one after the other a run is stopped; scripts/test.sh takes a few.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
import unittest

from harness import (CONFIGURATION, DATA, DONE, ENVIRONMENT, LOST, REPRISE, STOPPED, ProgramTest, Run, RunningTest,
                     mpirun_command, ranks_of, reprise, run, settings)

STOPS = int(os.environ.get("REPRISE_STOPS", "3"))
# Divisible among one to four ranks.
BATCH = {"global_sequences": 12, "micro_sequences": 1}


class SnapshotTest(ProgramTest):
    def go_on(self, folder, ranks=1, preexec_fn=None, **sections):
        """Starts the run in `folder`, again or for the first time; returns the result."""
        arguments = ["train", self.config, f"run.directory={folder}", *settings({"batch": BATCH, **sections})]
        command = [REPRISE, *map(str, arguments)] if ranks == 1 else mpirun_command(ranks, *arguments)
        return run(command, preexec_fn=preexec_fn)

    def finished(self, folder, ranks=1, **options):
        result = self.go_on(folder, ranks, **options)
        self.assertEqual(result.returncode, DONE, f"{result.stdout}\n{result.stderr}")
        self.errors = result.stderr
        return Run(folder)

    def assert_same(self, run, whole):
        self.assertEqual([record["step"] for record in run.of("step")], [record["step"] for record in whole.of("step")])
        self.assertEqual(run.outcome, whole.outcome)


class GoesOn(SnapshotTest):
    def test_after_any_step_to_the_same_bits(self):
        for ranks in (1, 2):
            every = {"every_steps": 1, "keep_every": 1}
            whole = self.finished(self.folder / f"whole{ranks}", ranks, snapshot=every)
            without = self.finished(self.folder / f"without{ranks}", ranks)
            self.assertEqual(whole.outcome, without.outcome)
            for stop in range(1, 20, max(1, 20 // STOPS)):
                with self.subTest(ranks=ranks, stop=stop):
                    snapshot = whole.folder / "snapshots" / f"snapshot-{stop:08}"
                    later = self.finished(self.folder / f"later{ranks}.{stop}", ranks,
                                          snapshot={"resume": str(snapshot)})
                    self.assertEqual(later.losses, whole.losses[stop:])
                    self.assertEqual(later.weights, whole.weights)

    def test_with_another_plan_and_torn_metrics(self):
        whole = self.finished(self.folder / "whole", 2)
        folder = self.folder / "cut"
        first = self.finished(folder, 2, snapshot={"every_steps": 8, "keep": 3})
        self.assertEqual([path.name for path in sorted((folder / "snapshots").iterdir())],
                         ["snapshot-00000008", "snapshot-00000016", "snapshot-00000020"])
        self.assertEqual([record["step"] for record in first.of("snapshot") if record["saved"]], [8, 16, 20])
        subprocess.run(["rm", "-r", folder / "snapshots" / "snapshot-00000020", folder / "final"], check=True)
        with open(folder / "metrics.jsonl", "a") as metrics:
            metrics.write('{"event": "step", "step": 21, "lo')
        again = self.finished(folder, 2, checkpointing={"policy": "full"}, distributed={"bucket_bytes": "64KiB"})
        self.assert_same(again, whole)
        self.assertEqual(again.of("start")[-1]["resumed_step"], 16)
        finished = self.finished(folder, 2)  # nothing is left to do, and nothing is done twice
        self.assert_same(finished, whole)

    def test_with_other_numbers_of_ranks(self):
        constant = {"optimizer": {"schedule": "constant"}}  # where no update depends on how many there will be
        whole = self.finished(self.folder / "whole", 1, run={"steps": 20}, **constant)
        folder = self.folder / "elastic"
        for leg, ranks in enumerate((4, 2, 3, 1, 4), 1):
            elastic = self.finished(folder, ranks, run={"steps": 4 * leg}, snapshot={"every_steps": 4}, **constant)
            self.assertEqual(elastic.of("start")[-1]["resumed_step"], 4 * (leg - 1))
            self.assertNotIn("rejected", self.errors)
        self.assertEqual([record["step"] for record in elastic.of("step")], list(range(1, 21)))
        for own, other in zip(elastic.losses, whole.losses):
            self.assertAlmostEqual(own, other, delta=2e-5)  # ranks add up gradients in another order

    def test_from_the_newest_good_snapshot(self):
        whole = self.finished(self.folder / "whole")
        folder = self.folder / "damaged"
        self.finished(folder, snapshot={"every_steps": 5, "keep": 4})
        state = folder / "snapshots" / "snapshot-00000020" / "state-00000-of-00001.safetensors"
        damaged = bytearray(state.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        state.write_bytes(damaged)
        (folder / "snapshots" / "snapshot-00000015" / "manifest.json").unlink()
        again = self.finished(folder, snapshot={"every_steps": 5, "keep": 4})
        self.assert_same(again, whole)
        self.assertEqual(again.of("start")[-1]["resumed_step"], 10)
        rejected = re.findall(r"^reprise: (snapshot-\d+) is rejected: (.*)$", self.errors, re.MULTILINE)
        self.assertEqual([name for name, _ in rejected], ["snapshot-00000020", "snapshot-00000015"])
        self.assertIn("state-00000-of-00001.safetensors is damaged between bytes 0 and 4194304", rejected[0][1])
        self.assertIn("manifest.json is missing", rejected[1][1])

    def test_never_silently_from_the_start_when_no_snapshot_is_good(self):
        folder = self.folder / "lost"
        whole = self.finished(folder, snapshot={"every_steps": 10})
        for manifest in folder.glob("snapshots/*/manifest.json"):
            manifest.write_text("{}")
        metrics = (folder / "metrics.jsonl").read_bytes()
        result = self.go_on(folder, snapshot={"every_steps": 10})
        self.assertEqual(result.returncode, DATA, result.stderr)
        self.assertIn("none of its 2 snapshots is good; set run.overwrite=true to begin anew",
                      result.stderr.splitlines()[-1])
        self.assertEqual((folder / "metrics.jsonl").read_bytes(), metrics)
        self.assert_same(self.finished(folder, run={"overwrite": True}), whole)


class Begins(SnapshotTest):
    def test_again_where_it_was_to_begin_when_it_was_ended_before_its_first_snapshot(self):
        whole = self.finished(self.folder / "whole", snapshot={"every_steps": 10})
        snapshot = {"every_steps": 10, "resume": str(whole.folder / "snapshots" / "snapshot-00000010")}
        folder = self.folder / "branch"
        self.finished(folder, snapshot=snapshot)
        for name in ("snapshots", "final"):  # as if it had been killed in its first step
            subprocess.run(["rm", "-r", folder / name], check=True)
        again = self.finished(folder, snapshot=snapshot)
        self.assertEqual(again.of("start")[-1]["resumed_step"], 10)
        self.assertEqual(again.losses, whole.losses[10:])
        self.assertEqual(again.weights, whole.weights)
        self.assertIn(f"reprise: begins anew in {folder}, where a run was ended before its first snapshot", self.errors)

    def test_with_the_weights_of_a_run_or_a_snapshot(self):
        whole = self.finished(self.folder / "whole", snapshot={"every_steps": 10})
        shutil.rmtree(whole.folder / "final")
        for ranks, init in ((1, whole.folder / "snapshots" / "snapshot-00000020"), (2, whole.folder)):
            begun = self.finished(self.folder / f"begun{ranks}", ranks, run={"init": str(init), "steps": 1},
                                  monitoring={"evaluate_every": 1})
            first = begun.of("evaluation")[0]
            self.assertEqual(first["step"], 0)
            self.assertAlmostEqual(first["loss"], whole.of("evaluation")[-1]["loss"], delta=1e-9)
        self.assertEqual(reprise("eval", whole.folder, "--data", self.data).returncode, DONE)
        narrow = self.go_on(self.folder / "narrow", run={"init": str(whole.folder)}, model={"width": 16})
        self.assert_fails(narrow, DATA, "snapshot-00000020", "shape")


class Overwrites(SnapshotTest):
    def setUp(self):
        super().setUp()
        self.old = self.finished(self.folder / "run", snapshot={"every_steps": 10})

    def replaced(self, **sections):
        return self.finished(self.old.folder, run={"overwrite": True}, **sections)

    def assert_keeps_the_old_run(self, code, *words, run=None, **sections):
        def files():
            return {path: path.read_bytes() for path in self.old.folder.rglob("*") if path.is_file()
                    and path.name != "lock"}
        before = files()
        result = self.go_on(self.old.folder, run={"overwrite": True, **(run or {})}, **sections)
        self.assert_fails(result, code, *words)
        self.assertTrue(files() == before, "the old run is not what it was")

    def test_only_once_what_it_begins_from_is_read(self):
        self.assert_keeps_the_old_run(DATA, "runs/mistyped", run={"init": "runs/mistyped"})
        other = self.finished(self.folder / "other", model={"width": 16})
        self.assert_keeps_the_old_run(DATA, "shape", run={"init": str(other.folder)})
        for inside in (self.old.folder, self.old.folder / "snapshots" / "snapshot-00000010"):
            self.assert_keeps_the_old_run(CONFIGURATION, "run.init: expected a path outside", run={"init": str(inside)})
            self.assert_keeps_the_old_run(CONFIGURATION, "snapshot.resume: expected a path outside",
                                          snapshot={"resume": str(inside)})

    def test_and_begins_from_the_snapshot_that_is_named(self):
        source = self.folder / "source"
        self.old.folder.rename(source)
        self.finished(self.old.folder)
        snapshot = source / "snapshots" / "snapshot-00000010"
        again = self.replaced(snapshot={"resume": str(snapshot)})
        self.assertEqual(again.of("start")[0]["resumed_step"], 10)
        self.assertEqual(again.losses, self.old.losses[10:])
        self.assertEqual(again.weights, self.old.weights)

    def test_once_in_a_job_that_slurm_starts_again(self):
        sections = {"run": {"overwrite": True, "max_seconds": 0.01}, "snapshot": {"every_steps": 10}}
        stopped = self.go_on(self.old.folder, **sections)
        self.assertEqual(stopped.returncode, STOPPED, stopped.stderr)
        self.assertIn("after step 1 of 20; saved: the same command without run.overwrite goes on", stopped.stderr)
        ENVIRONMENT["SLURM_RESTART_COUNT"] = "1"
        self.addCleanup(ENVIRONMENT.pop, "SLURM_RESTART_COUNT")
        again = self.go_on(self.old.folder, **sections)
        self.assertEqual(again.returncode, STOPPED, again.stderr)
        self.assertIn("after step 2 of 20", again.stderr)
        self.assert_same(self.replaced(snapshot={"every_steps": 10}), self.old)
        self.assertIn(f"run.overwrite spares what is saved in {self.old.folder}", self.errors)
        self.assertEqual([record["resumed_step"] for record in Run(self.old.folder).of("start")], [0, 1, 2])


class IsRefused(SnapshotTest):
    def test_with_other_mathematics(self):
        folder = self.folder / "run"
        self.finished(folder, snapshot={"every_steps": 10})
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}
        result = self.go_on(folder, optimizer={"learning_rate": 1e-3}, model={"layers": 2})
        self.assertEqual(result.returncode, CONFIGURATION, result.stderr)
        table = result.stderr.splitlines()
        self.assertRegex(table[0], r"setting +snapshot +now")
        self.assertRegex(result.stderr, r"\n +model\.layers +3 +2\n")
        self.assertRegex(result.stderr, r"\n +optimizer\.learning_rate +0\.002 +0\.001\n")
        self.assertIn("optimizer.learning_rate was 0.002, is 0.001", table[-1])
        after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}
        self.assertEqual(before, after)

    def test_when_told_never_to_resume(self):
        folder = self.folder / "run"
        self.finished(folder, snapshot={"every_steps": 10})
        self.assert_fails(self.go_on(folder, snapshot={"resume": "never"}), CONFIGURATION, "run.overwrite=true")

    def test_from_what_is_no_snapshot(self):
        result = self.go_on(self.folder / "run", snapshot={"resume": str(self.data)})
        self.assert_fails(result, DATA, "expected a snapshot")


class Failing(SnapshotTest):
    def test_saves_do_not_stop_the_training(self):
        folder = self.folder / "run"
        whole = self.finished(folder, snapshot={"every_steps": 10})
        subprocess.run(["rm", "-r", folder / "snapshots" / "snapshot-00000020", folder / "final"], check=True)
        older = {path.name: path.read_bytes() for path in folder.glob("snapshots/snapshot-00000010/*")}
        again = self.finished(folder, snapshot={"every_steps": 5}, preexec_fn=self.allow_small_files)
        self.assert_same(again, whole)
        self.assertEqual([(record["step"], record["saved"]) for record in again.of("snapshot")],
                         [(15, False), (20, False)])
        lines = [line for line in self.errors.splitlines() if line.startswith("reprise: ")]
        self.assertEqual(len(lines), 2, self.errors)
        for line, step in zip(lines, (15, 20)):
            self.assertRegex(line, fr"^reprise: snapshot of step {step} is dropped: rank 0 on .* cannot .*"
                                   r"File too large; training goes on$")
        self.assertEqual([path.name for path in (folder / "snapshots").iterdir()], ["snapshot-00000010"])
        self.assertEqual({path.name: path.read_bytes() for path in folder.glob("snapshots/*/*")}, older)

    @staticmethod
    def allow_small_files():
        """The weights fit (190 kB), the state of a snapshot does not (570 kB)."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))


class Killed(RunningTest):
    def start_long(self):
        self.long = {"run": {"steps": 4000}, "snapshot": {"every_steps": 20}}
        arguments = ["train", self.config, f"run.directory={self.run_folder}", *settings(self.long)]
        self.command = mpirun_command(2, *arguments)
        return self.start(self.command)

    def wait_for_snapshot(self):
        started = time.monotonic()
        while not list(self.run_folder.glob("snapshots/snapshot-????????/manifest.json")):
            self.assertLess(time.monotonic() - started, 60)
            time.sleep(0.02)

    def test_second_writer_is_refused_and_a_dead_one_replaced(self):
        job = self.start_long()
        self.wait_for_snapshot()
        pids = ranks_of(self.run_folder)
        second = run(self.command)
        self.assert_fails(second, CONFIGURATION, f"process {pids[0]} on ", "choose another run.name")
        self.assertIsNone(job.poll(), "the first run did not survive the second")
        os.kill(pids[1], signal.SIGKILL)  # one rank; the others follow
        job.communicate(timeout=60)
        self.assertIn(job.returncode, LOST)
        steps = self.steps()
        job = subprocess.Popen(self.command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, job)
        self.wait_for_steps(job, steps + 1)
        self.end_softly(job)
        resumed = [json.loads(line) for line in (self.run_folder / "metrics.jsonl").read_text().splitlines()
                   if '"event": "start"' in line]
        self.assertEqual(len(resumed), 2)
        self.assertGreaterEqual(resumed[1]["resumed_step"], 20)

    def end_softly(self, job):
        for pid in ranks_of(self.run_folder).values():
            os.kill(pid, signal.SIGKILL)
        _, errors = job.communicate(timeout=60)
        self.assertRegex(errors, r"reprise: takes .* over from process \d+ on .*, which did not end in good order")


if __name__ == "__main__":
    unittest.main()
