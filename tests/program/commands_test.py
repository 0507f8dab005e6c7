# ctest-processors: 1
# ctest-timeout: 300
"""Every command as a user meets it: help with an example, tables with --json, the files of a run, the same sample
twice."""

import json
import math
import re
import shutil
import subprocess
import unittest
import xml.etree.ElementTree
from pathlib import Path

from harness import DATA, DONE, INTERNAL, REPRISE, SOURCE, USAGE, ProgramTest, reprise, text

COMMANDS = ["train", "plan", "data prepare", "data inspect", "sample", "eval", "import", "export", "watch", "report",
            "doctor", "bench allreduce", "bench overlap", "bench all", "bench memory", "bench playbook"]


class Commands(ProgramTest):
    def test_help(self):
        overview = self.run_ok("--help")
        for code in ("64", "65", "69", "70", "74", "75", "78", "85", "143"):
            self.assertRegex(overview, rf"\b{code}\b")
        for command in COMMANDS:
            with self.subTest(command):
                self.assertIn(command.split()[0], overview)
                self.assertIn(f"reprise {command}", self.run_ok(*command.split(), "--help"))

    def test_bench_without_its_program(self):
        alone = self.folder / "reprise"
        alone.symlink_to(Path(REPRISE).resolve())
        copy = self.folder / "bin" / "reprise"
        copy.parent.mkdir()
        shutil.copy(REPRISE, copy)
        result = subprocess.run([copy, "bench", "allreduce"], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, INTERNAL)
        self.assertEqual(result.stderr, f"reprise: expected the program reprise-bench beside this one, got no "
                                        f"{copy}-bench\n")
        found = subprocess.run([alone, "bench", "--help"], capture_output=True, text=True, check=False)
        self.assertEqual(found.returncode, DONE, "through a symbolic link")

    def test_print_config(self):
        printed = self.run_ok("train", self.config, "run.steps=7", "--print-config")
        self.assertRegex(printed, r"steps: 7\b.*command line")
        self.assertRegex(printed, r"width: 32\b.*tiny\.yaml:2")
        self.assertRegex(printed, r"bucket_bytes: auto\b.*default")
        self.assertFalse((self.folder / "runs").exists())

    def test_shipped_configurations(self):
        for path in sorted((SOURCE / "configs").glob("*.yaml")):
            with self.subTest(path.name):
                self.run_ok("train", path, f"data.directory={self.data}", "--print-config")

    def test_plan(self):
        plan = self.json_of("plan", self.config, "--policy", "group:2")
        segments = [(item["first"], item["last"], item["recompute"]) for item in plan["plan"]["segments"]]
        self.assertEqual(segments, [(0, 0, False), (1, 4, True), (5, 6, True), (7, 7, False)])
        self.assertEqual(plan["plan"]["save"], ["all"] * 8)
        table = self.run_ok("plan", self.config, "--policy", "every:2")
        self.assertIn("every: 2", table)

    def test_plan_says_what_it_is_for(self):
        """A table of another micro-batch, and a vocabulary that nobody gave."""
        costs = self.folder / "costs.json"
        self.run_ok("profile", self.config, "--seconds", "0.1", "-o", costs)
        self.run_ok("plan", self.config, "--costs", costs)
        result = reprise("plan", self.config, "batch.micro_sequences=4", "--costs", costs)
        self.assert_fails(result, USAGE, "--costs: expected a table of 8 stages and micro-batches of 4",
                          "got one of 8 stages and micro-batches of 2")
        for setting, is_said in ((f"data.directory={self.data}", False), ("data.directory=none", True),
                                 ("model.vocabulary=300", False)):
            result = reprise("plan", self.config, "data.directory=none", setting)
            self.assertEqual(result.returncode, DONE, result.stderr)
            self.assertEqual("no none yet, so this is for bytes; model.vocabulary=N" in result.stderr, is_said, setting)

    def test_data(self):
        corpus = self.folder / "corpus.jsonl"
        documents = [text(500, seed) for seed in range(40)]
        corpus.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents))
        folder = self.folder / "prepared"
        self.run_ok("data", "prepare", "--out", folder, corpus)
        facts = self.json_of("data", "inspect", folder)
        self.assertEqual(facts["documents"], 40)
        self.assertEqual(facts["train"]["tokens"], 38 * 501)  # 500 bytes and an end of document
        self.assertEqual(facts["validation"]["tokens"], 2 * 501)
        self.assertEqual([path.name for path in folder.iterdir() if path.suffix not in {".bin", ".json"}], [])
        (folder / "train_000000.bin").write_bytes(b"no shard")
        self.assert_fails(reprise("data", "inspect", folder), DATA, "train_000000.bin")

    def test_doctor(self):
        facts = self.json_of("doctor")
        flat = json.dumps(facts).lower()
        for word in ("mpi", "libtorch", "threads", "2.11"):
            self.assertIn(word, flat)
        self.assertLess(len(self.run_ok("doctor").splitlines()), 60)

    def test_run_and_what_follows(self):
        run = self.train(model={"dropout": 0.0}, run={"steps": 30}, monitoring={"evaluate_every": 10})
        files = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}
        self.assertEqual(files, {"config.yaml", "plan.json", "costs.json", "metrics.jsonl", "loss.svg", "lock",
                                 "final/model.safetensors"})
        xml.etree.ElementTree.parse(run.folder / "loss.svg")
        plan = json.loads((run.folder / "plan.json").read_text())
        self.assertEqual(sorted(plan), ["origin", "plan", "predicted", "strip"])
        self.check_metrics(run)
        self.check_eval(run)
        self.check_sample(run)
        again = self.folder / "again"
        self.run_ok("train", run.folder / "config.yaml", f"run.directory={again}")
        self.assertEqual((again / "final/model.safetensors").read_bytes(),
                         (run.folder / "final/model.safetensors").read_bytes())

    def check_metrics(self, run):
        self.assertEqual([record["step"] for record in run.of("step")], list(range(1, 31)))
        self.assertEqual([record["step"] for record in run.of("evaluation")], [0, 10, 20, 30])
        self.assertLess(run.losses[-1], run.losses[0])
        parts = ["data", "forward", "recompute", "backward", "comm_exposed", "optimizer", "other"]
        for step in run.of("step"):
            self.assertAlmostEqual(sum(step[f"{part}_seconds"] for part in parts), step["step_seconds"], places=6)
            self.assertEqual(step["tokens"], 8 * 32)
            self.assertGreaterEqual(step["peak_bytes_max"], step["peak_bytes"])
            self.assertGreater(step["peak_bytes"], 0)
            for name in ("grad_norm", "learning_rate", "comm_seconds"):
                self.assertIsInstance(step[name], (int, float))
        self.assertRegex(run.weights, r"^[0-9a-f]{16}$")

    def check_eval(self, run):
        figures = self.json_of("eval", run.folder, "--data", self.data)
        self.assertEqual(set(figures), {"loss", "perplexity", "bits_per_byte", "tokens"})
        self.assertAlmostEqual(figures["loss"], run.of("evaluation")[-1]["loss"], places=5)
        self.assertAlmostEqual(figures["perplexity"], math.exp(figures["loss"]), places=3)
        self.assertAlmostEqual(figures["bits_per_byte"], figures["loss"] / math.log(2), places=5)
        shorter = self.json_of("eval", run.folder, "--data", self.data, "--context", "16")
        self.assertGreater(shorter["loss"], 0)

    def check_sample(self, run):
        def sample(seed, *more):
            return self.run_ok("sample", run.folder, "--prompt", "the ", "--tokens", "40", "--seed", seed, *more)
        self.assertEqual(sample(1), sample(1))
        self.assertNotEqual(sample(1), sample(2))
        self.assertEqual(sample(1, "--temperature", "0"), sample(2, "--temperature", "0"))
        self.assertTrue(sample(1).startswith("the "))

    def test_piped_output_is_plain(self):
        folder = self.new_run_folder()
        output = self.run_ok("train", self.config, f"run.directory={folder}")
        self.assertNotIn("\x1b", output)
        self.assertNotIn("\r", output)
        self.assertTrue(re.search(r"\b20/20\b", output), output)


if __name__ == "__main__":
    unittest.main()
