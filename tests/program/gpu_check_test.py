# ctest-labels: slow
# ctest-timeout: 480
"""scripts/gpu_check.sh, rehearsed on the CPU: every row of its report, and that a broken promise ends it with 1."""

import json
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path

from harness import BUILD, ENVIRONMENT, SOURCE

sys.path.insert(0, str(SOURCE / "scripts"))
import gpu_check  # noqa: E402  found by the line above
import gpu_check_page  # noqa: E402


class FakeCheck:
    """Trains nothing: every run ends with the weights that `weights_of` gives to its settings."""

    is_rehearsal = True

    def __init__(self, weights_of):
        self.weights_of = weights_of

    def train(self, _model, steps, _launcher=(), **changes):
        peak = 60_000 if changes.get("checkpointing__policy") == "full" else 100_000
        end = {"weights_xxh3": self.weights_of(changes), "peak_bytes_max": peak}
        return None, {"end": [end], "step": [{"loss": self.weights_of(changes)}] * steps}


class Verdicts(unittest.TestCase):
    def test_one_policy_with_other_weights_is_found(self):
        right = gpu_check.equality(FakeCheck(lambda changes: "a"), "bf16")
        self.assertTrue(right["equal"])
        for odd in ({"checkpointing__policy": "sqrt"}, {"checkpointing__save": "input"},
                    {"checkpointing__budget": 80_000}):
            check = FakeCheck(lambda changes, odd=odd: "b" if odd.items() <= changes.items() else "a")
            wrong = gpu_check.equality(check, "bf16")
            self.assertFalse(wrong["equal"], odd)
            self.assertEqual(gpu_check_page.broken({"rows": {"policies": wrong, "others": right}}), ["policies"])

    def test_two_ranks_with_other_losses_are_found(self):
        self.assertTrue(gpu_check.two_ranks(FakeCheck(lambda changes: 5.0), "mpi")["equal"])
        odd = FakeCheck(lambda changes: 5.1 if "distributed__backend" in changes else 5.0)
        self.assertFalse(gpu_check.two_ranks(odd, "mpi")["equal"])

    def test_a_check_that_breaks_is_a_row(self):
        check = types.SimpleNamespace(name="x", doctor={}, is_rehearsal=True)  # lacks all that a check needs
        check.train = lambda *_, **__: (_ for _ in ()).throw(RuntimeError("exit 70: out of luck"))
        report = gpu_check.measure(check)
        self.assertIn("policies agree in fp32", gpu_check_page.broken(report))
        self.assertNotIn("two ranks on one device, nccl", gpu_check_page.broken(report))
        self.assertIn("out of luck", gpu_check_page.verdict(report["rows"]["policies agree in fp32"]))


class Rehearsal(unittest.TestCase):
    def test_every_row(self):
        with tempfile.TemporaryDirectory(prefix="reprise-test-") as folder:
            done = subprocess.run([SOURCE / "scripts/gpu_check.sh", "--rehearse", BUILD], cwd=folder, env=ENVIRONMENT,
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            report = json.loads(Path(folder, "gpu-report.json").read_text())
            page = Path(folder, "gpu-report.md").read_text()
        rows = report["rows"]
        for precision in ("fp32", "bf16"):
            self.assertEqual(len(rows[f"policies agree in {precision}"]["weights_xxh3"]), 13)
        self.assertTrue(rows["two ranks on one device, mpi"]["equal"])
        self.assertEqual(gpu_check_page.broken(report), [])

        compared = rows["gpt2_124m beside PyTorch"]["contenders"]
        half = compared["ours at half the activation bytes"]
        self.assertLessEqual(half["activation_share"], 0.5)
        self.assertGreater(half["activation_share"], 0.3)
        self.assertEqual(half["largest_loss_difference"], 0)
        for name in ("PyTorch, eager", "PyTorch, compile"):
            if "not_tried" not in compared.get(name, {"not_tried": "no PyTorch here"}):
                self.assertLess(compared[name]["largest_loss_difference"], 1e-4, name)
        for heading in ("# CPU (rehearsal)", "## Correctness", "## Speed and memory", "## gpt2_124m beside PyTorch"):
            self.assertIn(heading, page)
        self.assertIn("Every check that was tried holds.", page)


if __name__ == "__main__":
    unittest.main()
