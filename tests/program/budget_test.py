# ctest-timeout: 300
"""Budgets: the joint choice of micro-batch and plan on two ranks, and its weights those of the same choice by hand."""

import json
import unittest

from harness import DONE, NOTHING_FITS, ProgramTest, Run, mpirun_command, reprise, run, settings

MODEL = {"family": "gpt2", "layers": 4, "width": 64, "heads": 4, "context": 64, "dropout": 0.1}


class JointChoice(ProgramTest):
    def train(self, *overrides, ranks=2):
        folder = self.new_run_folder()
        values = {"run": {"directory": str(folder), "steps": 4}, "model": MODEL, "batch": {"global_sequences": 16}}
        return folder, run(mpirun_command(ranks, "train", self.config, *settings(values), *overrides), timeout=120)

    def test_two_ranks_choose_the_same_pair_and_train_its_weights(self):
        folder, result = self.train("batch.micro_sequences=auto", "checkpointing.policy=budget",
                                    "checkpointing.budget=9MiB")
        self.assertEqual(result.returncode, DONE, result.stderr)
        chosen = Run(folder)
        start, end = chosen.of("start")[0], chosen.of("end")[0]
        self.assertIn(f"* {start['micro_sequences']:>11}", result.stdout)
        self.assertLessEqual(end["peak_bytes_max"], 9 << 20)
        self.assertIn(f"micro_sequences: {start['micro_sequences']}\n", (folder / "config.yaml").read_text())
        folder, result = self.train(f"batch.micro_sequences={start['micro_sequences']}")
        self.assertEqual(result.returncode, DONE, result.stderr)
        self.assertEqual(Run(folder).outcome, chosen.outcome)

    def test_no_step_holds_more_than_planned(self):
        for policy in ("none", "full", "every", "budget"):
            for micro in (2, 8):
                folder, result = self.train(f"batch.micro_sequences={micro}", f"checkpointing.policy={policy}",
                                            "checkpointing.budget=12MiB")
                self.assertEqual(result.returncode, DONE, result.stderr)
                for step in Run(folder).of("step"):
                    self.assertGreaterEqual(step["planned_peak_bytes"], step["peak_bytes_max"], (policy, micro))
                    self.assertLessEqual(step["planned_peak_bytes"], 1.001 * step["peak_bytes_max"], (policy, micro))

    def test_plan_shows_the_table(self):
        arguments = ["plan", self.config, *settings({"model": MODEL, "batch": {"global_sequences": 8}}),
                     "batch.micro_sequences=auto", "--memory", "9MiB", "--json"]
        result = reprise(*arguments)
        self.assertEqual(result.returncode, DONE, result.stderr)
        document = json.loads(result.stdout.splitlines()[-1])
        rows = document["micro_batches"]
        self.assertEqual([row["micro_sequences"] for row in rows], [1, 2, 4, 8])
        fastest = min((row for row in rows if row["fits"]), key=lambda row: row["step_seconds"])
        self.assertEqual(document["micro_sequences"], fastest["micro_sequences"])
        self.assertEqual(document["predicted"]["step_seconds"], fastest["step_seconds"])

    def test_nothing_fits(self):
        folder, result = self.train("batch.micro_sequences=auto", "checkpointing.policy=budget",
                                    "checkpointing.budget=1MiB", ranks=1)
        self.assertEqual(result.returncode, NOTHING_FITS, result.stderr)
        self.assertIn("no plan fits 1.0 MiB: the smallest peak possible is", result.stderr)
        self.assertFalse(folder.exists(), "in the way of the next attempt")


if __name__ == "__main__":
    unittest.main()
