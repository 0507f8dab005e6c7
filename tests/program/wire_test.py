# ctest-timeout: 240
"""What a user sees of the wire: buckets chosen by themselves, `bench allreduce`, `bench overlap`, traces."""

import json
import os
import re
import unittest

from harness import DATA, DONE, USAGE, ProgramTest, Run, mpirun_command, reprise, run, settings

MODEL = {"family": "gpt2", "layers": 3, "width": 64, "heads": 4, "context": 64, "dropout": 0.0, "vocabulary": 256}


class Wire(ProgramTest):
    def train(self, *overrides, ranks=2):
        folder = self.new_run_folder()
        values = {"run": {"directory": str(folder), "steps": 3}, "model": MODEL}
        result = run(mpirun_command(ranks, "train", self.config, *settings(values), *overrides), timeout=90)
        self.assertEqual(result.returncode, DONE, result.stderr)
        return folder, result

    def test_buckets_are_chosen_printed_and_written(self):
        folder, result = self.train()
        self.assertRegex(result.stdout, r"wire \S+ \S+ \+ \S+ \S+/s, \d+ % of a core: \d+ buckets?, the first .*, up ")
        config = (folder / "config.yaml").read_text()
        self.assertRegex(config, r"\bbucket_bytes: \d+[KM]iB\n")
        self.assertNotIn("auto", config.replace("resume: auto", ""))
        again, _ = self.train("distributed.bucket_bytes=64KiB", "distributed.first_bucket_bytes=16KiB")
        self.assertEqual(Run(again).outcome, Run(folder).outcome)

    def test_the_wire_takes_from_cores_that_compute(self):
        costs = self.folder / "costs.json"

        def wire(ranks):
            command = mpirun_command(ranks, "profile", self.config, *settings({"model": MODEL}), "--seconds", "0.1",
                                     "-o", costs, "batch.global_sequences=16")
            self.assertEqual(run(command, timeout=90).returncode, DONE)
            return json.loads(costs.read_text())["wire"]

        self.assertIsNone(wire(1))
        cores = len(os.sched_getaffinity(0))
        if cores <= 4:  # each rank has one thread that computes and one that moves bytes
            self.assertGreater(wire(4)["compute_share"], 0.01)
        if cores >= 8:
            self.assertLess(wire(2)["compute_share"], 0.1)

    def test_bench_allreduce(self):
        result = run(mpirun_command(2, "bench", "allreduce", "--bytes", "1MiB", "--json"))
        self.assertEqual(result.returncode, DONE, result.stderr)
        document = json.loads(result.stdout.splitlines()[-1])
        row, = document["rows"]
        self.assertEqual(row["bytes"], 1 << 20)
        self.assertAlmostEqual(row["algorithm_bytes_per_second"], row["bytes"] / row["seconds"], delta=1)
        self.assertAlmostEqual(row["bus_bytes_per_second"], row["algorithm_bytes_per_second"], delta=1)  # of two ranks
        self.assertEqual(reprise("bench", "allreduce").returncode, USAGE)
        refused = run(mpirun_command(2, "bench", "allreduce", "--bytes", "many"))
        self.assertEqual(refused.returncode, USAGE)
        self.assertIn("--bytes: expected a size such as 4MiB, got many", refused.stderr)

    def test_bench_overlap(self):
        drawings = self.folder / "drawings"
        result = run(mpirun_command(2, "bench", "overlap", self.config, *settings({"model": MODEL}), "--rounds", "2",
                                    "--timelines", drawings, "--json"), timeout=120)
        self.assertEqual(result.returncode, DONE, result.stderr)
        rows = json.loads(result.stdout.splitlines()[-1])["rows"]
        self.assertEqual([row["policy"] for row in rows], ["none", "full", "every:2", "budget", "budget, no wire"])
        for row in rows:
            self.assertGreaterEqual(row["bound_seconds"], row["compute_seconds"]["median"])
            self.assertGreater(row["all_reduce_seconds"]["median"], 0)
        self.assertLess(rows[3]["peak_bytes"], rows[0]["peak_bytes"])
        self.assertEqual(len(list(drawings.glob("*.svg"))), 10)
        common = ["bench", "overlap", self.config, *settings({"model": MODEL}), "--policies"]
        self.assertEqual(reprise(*common, "none").returncode, USAGE)
        for policies, expected in (("none;every:x", "checkpointing.every"), ("sometimes", "checkpointing.policy")):
            refused = run(mpirun_command(2, *common, policies))
            self.assert_fails(refused, USAGE, "--policies", expected)

    def test_trace_of_two_ranks(self):
        folder, _ = self.train("monitoring.trace=true", "checkpointing.policy=full")
        files = sorted((folder / "trace").iterdir())
        self.assertEqual([file.name for file in files], ["rank-0.json", "rank-1.json"])
        out = self.folder / "trace.json"
        result = reprise("trace", "merge", *files, "-o", out)
        self.assertEqual(result.returncode, DONE, result.stderr)
        events = json.loads(out.read_text())
        for rank in (0, 1):
            spans = [event for event in events if event["ph"] == "X" and event["pid"] == rank]
            self.assertEqual(sum(span["name"].startswith("step ") for span in spans), 3)
            self.assertEqual(sum(span["name"] == "recompute layer0.attention" for span in spans), 6)
            for tid in {span["tid"] for span in spans}:  # each lane's spans follow one another
                lane = sorted((span for span in spans if span["tid"] == tid), key=lambda span: span["ts"])
                for before, after in zip(lane, lane[1:]):
                    self.assertLessEqual(before["ts"] + before["dur"], after["ts"] + 1)
        steps = [[event["ts"] for event in events if event["ph"] == "X" and event["name"] == "step 2"
                  and event["pid"] == rank][0] for rank in (0, 1)]
        self.assertLess(abs(steps[0] - steps[1]), 1e6, "the ranks' clocks are far apart")
        self.assertEqual(reprise("trace", "merge", self.config, "-o", out).returncode, DATA)

    def test_a_run_that_goes_on_keeps_its_trace(self):
        folder, _ = self.train("monitoring.trace=true", "snapshot.every_steps=1", "optimizer.schedule=constant")
        before = {path: path.read_bytes() for path in (folder / "trace").iterdir()}
        for name, steps in (("start-2", 4), ("start-3", 5)):
            result = run(mpirun_command(1, "train", self.config, *settings({"model": MODEL}), "monitoring.trace=true",
                                        f"run.directory={folder}", f"run.steps={steps}", "snapshot.every_steps=1",
                                        "optimizer.schedule=constant"))
            self.assertEqual(result.returncode, DONE, result.stderr)
            files = list((folder / "trace" / name).iterdir())
            self.assertEqual([file.name for file in files], ["rank-0.json"])
            self.assertEqual(re.findall(r'"step (\d+)"', files[0].read_text()), [str(steps)])
        self.assertEqual({path: path.read_bytes() for path in (folder / "trace").glob("rank-*")}, before)
        mixed = reprise("trace", "merge", folder / "trace" / "rank-0.json", files[0], "-o", self.folder / "mixed.json")
        self.assert_fails(mixed, USAGE, "the files of one start")


if __name__ == "__main__":
    unittest.main()
