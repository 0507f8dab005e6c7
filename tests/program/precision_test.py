# ctest-timeout: 240
"""Computing in bfloat16 over fp32 parameters: every plan still trains to the same bits, the loss follows fp32's, and
the peak is predicted. Loss scaling by powers of two changes no bit in fp32. What the CPU cannot do is refused."""

import unittest

from harness import CONFIGURATION, ProgramTest, reprise

POLICIES = [{"policy": "full"}, {"policy": "group", "group": 2}, {"policy": "every", "every": 2, "save": "lean"},
            {"policy": "list", "list": [0, 2], "save": "input"}]
BF16 = {"compute": "bf16"}


class PrecisionTest(ProgramTest):
    def test_every_plan_the_same_bits_in_bf16(self):
        for family in ("gpt2", "llama", "postnorm"):
            kept = self.train(2, model={"family": family}, precision=BF16)
            for policy in POLICIES:
                with self.subTest(family=family, policy=policy):
                    self.assertEqual(self.train(2, model={"family": family}, precision=BF16,
                                                checkpointing=policy).outcome, kept.outcome)

    def test_bf16_learns_as_fp32_does(self):
        wide, narrow = self.train(), self.train(precision=BF16)
        self.assertNotEqual(narrow.weights, wide.weights)
        self.assertLess(narrow.losses[-1], narrow.losses[0] - 0.5)
        for a, b in zip(wide.losses, narrow.losses):
            self.assertLess(abs(a - b) / a, 0.01)

    def test_gradients_may_travel_as_bf16(self):
        wide, narrow = self.train(2), self.train(2, precision={"reduce": "bf16"})
        self.assertNotEqual(narrow.weights, wide.weights)
        self.assertLess(abs(narrow.losses[-1] / wide.losses[-1] - 1), 0.01)
        for a, b in zip(wide.of("step"), narrow.of("step")):  # a rank's own share alone has another norm
            self.assertLess(abs(b["grad_norm"] / a["grad_norm"] - 1), 0.05)

    def test_scaling_the_loss_changes_no_bit_in_fp32(self):
        off, scaled = self.train(2), self.train(2, precision={"loss_scaling": "dynamic"})
        self.assertEqual(scaled.outcome, off.outcome)
        self.assertEqual({step["loss_scale"] for step in off.of("step")}, {1})
        self.assertEqual({step["loss_scale"] for step in scaled.of("step")}, {65536})

    def test_the_peak_is_predicted(self):
        for precision in (BF16, {"compute": "bf16", "reduce": "bf16", "loss_scaling": "dynamic"}):
            for policy in ({"policy": "none"}, {"policy": "full"}):
                run = self.train(2, precision=precision, checkpointing=policy, model={"width": 64})
                planned = run.of("start")[0]["planned_peak_bytes"]
                measured = max(step["peak_bytes_max"] for step in run.of("step"))
                self.assertLessEqual(measured, planned, (precision, policy))
                self.assertLess(planned / measured, 1.02, (precision, policy))

    def test_what_the_cpu_cannot_do_is_refused(self):
        for compute in ("fp16", "tf32"):
            result = reprise("train", self.config, f"precision.compute={compute}", "precision.loss_scaling=dynamic")
            self.assert_fails(result, CONFIGURATION, "precision.compute", "fp32 or bf16 on the CPU", "bf16?")


if __name__ == "__main__":
    unittest.main()
