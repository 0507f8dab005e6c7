# ctest-processors: 1
# ctest-timeout: 180
"""The experiments of `reprise bench` at a tiny size: what must hold of their figures, their files, their mistakes.

Times are not judged here; tests/program/experiments_speed_test.py does that, alone on the machine.
"""

import json
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from harness import CONFIGURATION, DATA, DONE, NOTHING_FITS, USAGE, ProgramTest, reprise

TINY = ["model.layers=4", "model.width=32", "model.heads=4", "model.context=32"]
NAMES = ["activations", "memory", "speed", "selective", "adaptive", "production", "paradox", "playbook"]


class Experiments(ProgramTest):
    def bench(self, name, *arguments, code=DONE):
        out = self.folder / name
        result = reprise("bench", name, "--out", out, "--rounds", "2", *arguments, timeout=120)
        self.assertEqual(result.returncode, code, f"{result.stdout}\n{result.stderr}")
        return json.loads((out / "result.json").read_text())["numbers"]

    def test_activations_grow_linearly_and_as_the_formula_says(self):
        for precision in ("fp32", "bf16"):
            numbers = self.bench("activations", *TINY, "model.layers=6", f"precision.compute={precision}")
            layer = numbers["formula_layer_bytes"]
            self.assertEqual(len(numbers["cumulative_bytes"]), 6)
            for i, kept in enumerate(numbers["cumulative_bytes"], 1):
                self.assertAlmostEqual(kept / (i * layer), 1, delta=0.02)
        self.assertAlmostEqual(numbers["claim_formula_layer_bytes"] / 2**20, 192, delta=1)

    def test_as_many_layers_run_as_fit(self):
        tight = "checkpointing.budget=1MiB"
        numbers = self.bench("activations", *TINY, "model.layers=50", tight)
        ran = len(numbers["cumulative_bytes"])
        self.assertEqual(numbers["layers_asked"], 50)
        self.assertTrue(1 <= ran < 50)
        result = json.loads((self.folder / "activations" / "result.json").read_text())
        self.assertRegex(" ".join(result["notes"]), rf"50 layers need .*: {ran} layers ran, the rest is formula")
        rows = self.bench("memory", *TINY, "model.layers=50", tight)["rows"]
        self.assertLessEqual(rows[0]["peak_bytes"], 2**20)
        refused = reprise("bench", "speed", *TINY, "checkpointing.budget=1KiB")
        self.assert_fails(refused, NOTHING_FITS, "one layer needs")

    def test_memory_saved_as_planned(self):
        numbers = self.bench("memory", *TINY, "model.layers=8")
        rows = {row["name"]: row for row in numbers["rows"]}
        self.assertGreater(rows["group: 4"]["activations_saved"], 0.3)
        for name, row in rows.items():
            with self.subTest(name):
                self.assertAlmostEqual(row["activations_saved"], row["activations_saved_planned"], delta=0.03)
                self.assertLessEqual(row["forward_peak_bytes"], row["peak_bytes"])
                self.assertLessEqual(row["peak_bytes"], row["planned_peak_bytes"])
                self.assertAlmostEqual(row["peak_bytes"] / row["planned_peak_bytes"], 1, delta=0.005)
        self.assertLess(rows["group: 4"]["forward_peak_bytes"], rows["none"]["forward_peak_bytes"])

    def test_slowdown_is_a_ratio_of_two_steps(self):
        rows = self.bench("speed", *TINY)["rows"]
        self.assertEqual(rows[0]["slowdown"], 1)
        for row in rows[1:]:
            planned = row["planned_step_seconds"] / rows[0]["planned_step_seconds"]
            self.assertAlmostEqual(row["slowdown_planned"], planned, delta=1e-9)
            self.assertGreater(row["slowdown"], 0)

    def test_selective_feeds_adaptive(self):
        chosen = self.bench("selective", *TINY, "checkpointing.greedy=200000")
        greedy, exact = chosen["rows"][1:]
        self.assertGreater(len(chosen["greedy_layers"]), 0)
        self.assertEqual(greedy["layers"], chosen["greedy_layers"])
        self.assertLessEqual(exact["planned_peak_bytes"], greedy["planned_peak_bytes"])
        self.assertLessEqual(exact["extra_seconds_planned"], greedy["extra_seconds_planned"])
        numbers = self.bench("adaptive", *TINY, "--sets", 1, "--from", self.folder / "selective" / "result.json")
        self.assertEqual(numbers["rows"][1]["layers"], chosen["greedy_layers"])

    def test_fifty_sets_of_layers_give_the_same_bits(self):
        numbers = self.bench("adaptive", *TINY, "--sets", 50, "checkpointing.list=[1, 2]")
        self.assertEqual(numbers["rows"][1]["layers"], [1, 2])
        self.assertEqual(numbers["sets"], 52)
        self.assertEqual(numbers["differing"], 0)
        self.assertGreater(len({tuple(row["layers"]) for row in numbers["rows"]}), 10)
        self.assertLess(numbers["rows"][2]["peak_bytes"], numbers["rows"][0]["peak_bytes"])

    def test_production_returns_its_loss(self):
        numbers = self.bench("production", *TINY)
        self.assertTrue(numbers["losses_equal"])
        self.assertEqual(len(numbers["losses"]), 3)
        self.assertAlmostEqual(numbers["losses"][0], 5.55, delta=0.3)  # about ln 257
        self.assertGreater(numbers["activations_saved"], 0.1)
        mixed = self.bench("production", *TINY, "precision.compute=bf16", "precision.loss_scaling=dynamic")
        self.assertTrue(mixed["losses_equal"])
        self.assertGreater(mixed["loss_scale"], 1)
        self.assertFalse((self.folder / "production" / "data").exists())

    def test_paradox_keeps_to_the_cap(self):
        free = self.bench("paradox", *TINY, "batch.global_sequences=4")
        peaks = [row["peak_bytes"] for row in free["rows"]]
        for cap in (free["cap_bytes"], min(peaks), max(peaks)):
            with self.subTest(cap):
                numbers = self.bench("paradox", *TINY, "batch.global_sequences=4", f"checkpointing.budget={cap}")
                self.assertEqual(numbers["cap_bytes"], cap)
                self.assertGreater(len(numbers["rows"]), 0)
                for row in numbers["rows"]:
                    self.assertLessEqual(row["peak_bytes"], cap, row["name"])
        result = reprise("bench", "paradox", *TINY, "batch.global_sequences=4", "checkpointing.budget=1KiB")
        self.assert_fails(result, NOTHING_FITS, "smallest peak")

    def test_mistakes_name_the_nearest_legal_value(self):
        for name, setting, key, nearest in (
                ("activations", "model.heads=7", "model.heads", "nearest legal value is 8"),
                ("memory", "checkpointing.group=0", "checkpointing.group", "did you mean 1?"),
                ("speed", "checkpointing.every=0", "checkpointing.every", "did you mean 1?"),
                ("adaptive", "checkpointing.list=[99]", "checkpointing.list", "nearest legal value: 9"),
                ("selective", "model.layers=0", "model.layers", "did you mean 1?"),
                ("production", "precision.compute=fp16", "precision.loss_scaling", "dynamic"),
                ("production", "precision.compute=tf32", "precision.compute", "bf16"),
                ("paradox", "model.hedas=4", "model.hedas", "did you mean model.heads?"),
                ("playbook", "model.heads=5", "model.heads", "nearest legal value is")):
            with self.subTest(setting):
                self.assert_fails(reprise("bench", name, setting), CONFIGURATION, key, "expected", "got", nearest)
        self.assert_fails(reprise("bench", "memory", "--scale", "huge"), USAGE, "huge")
        self.assert_fails(reprise("bench", "adaptive", "--from", self.config), DATA, "bench selective")

    def test_the_original_size_wants_a_gpu(self):
        result = reprise("bench", "activations", "--scale", "gpu", "model.layers=1", "model.width=64",
                         "model.feed_forward=64", "model.context=8", "--out", self.folder)
        if Path("/dev/nvidiactl").exists():
            self.assertEqual(result.returncode, DONE, result.stderr)
        else:
            self.assert_fails(result, CONFIGURATION, "--scale gpu", "expected a CUDA device", "--scale cpu")

    def test_all_makes_one_page(self):
        out = self.folder / "report"
        result = reprise("bench", "all", "--out", out, "--rounds", "1", *TINY, "batch.global_sequences=2", timeout=150)
        self.assertEqual(result.returncode, DONE, f"{result.stdout}\n{result.stderr}")
        page, text = (out / "index.html").read_text(), (out / "experiments.md").read_text()
        self.assertEqual(page.count("<svg"), len(NAMES))
        self.assertNotRegex(page, r'(src|href)="(?!#)', "it needs no other file")
        for name in NAMES:
            with self.subTest(name):
                self.assertIn(f'id="{name}"', page)
                self.assertIn(f"](experiments/{name}.svg)", text)
                self.assertTrue((out / "experiments" / f"{name}.svg").exists())
                svg = ElementTree.parse(out / name / f"{name}.svg").getroot()
                self.assertTrue(svg.tag.endswith("svg"))
                result = json.loads((out / name / "result.json").read_text())
                self.assertEqual(result["experiment"], name)
                self.assertTrue(result["claim"] and result["measured"] and result["settings"]["machine"])
        ids = [piece.split('"')[0] for piece in page.split(' id="')[1:]]
        self.assertEqual(len(ids), len(set(ids)), "two figures share a pattern or a mark")


if __name__ == "__main__":
    unittest.main()
