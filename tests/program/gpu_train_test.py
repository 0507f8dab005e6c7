# ctest-labels: gpu
# ctest-timeout: 600
"""Training on one GPU: every plan gives the same bits there, too, and the losses of the CPU to a tolerance; two ranks
on one GPU need distributed.share_device and then train alike."""

import json
import unittest

from harness import CONFIGURATION, ProgramTest, mpirun_command, reprise, run

GPU, CPU = {"device": "cuda"}, {"device": "cpu"}
FAMILIES = [{"family": "gpt2"}, {"family": "llama", "kv_heads": 2}, {"family": "postnorm"}]


class OnOneGpu(ProgramTest):
    def setUp(self):
        super().setUp()
        doctor = reprise("doctor", "--json")
        if not json.loads(doctor.stdout.strip().splitlines()[-1]).get("devices"):
            self.skipTest("needs a CUDA build and a device")

    def assert_near(self, losses, others):
        """Sums in another order, over 20 steps of training."""
        self.assertEqual(len(losses), len(others))
        for loss, other in zip(losses, others):
            self.assertAlmostEqual(loss, other, delta=2e-2)

    def test_plans_agree_and_losses_are_the_cpus(self):
        for model in FAMILIES:
            with self.subTest(model=model):
                kept = self.train(run=GPU, model=model, timeout=120)
                for policy in ({"policy": "full"}, {"policy": "every", "save": "lean"}):
                    self.assertEqual(self.train(run=GPU, model=model, checkpointing=policy, timeout=120).outcome,
                                     kept.outcome)
                self.assert_near(kept.losses, self.train(run=CPU, model=model).losses)

    def test_two_ranks_share_one_gpu_only_when_told(self):
        again = mpirun_command(2, "train", self.config, f"run.directory={self.new_run_folder()}", "run.device=cuda")
        self.assert_fails(run(again), CONFIGURATION, "distributed.share_device")
        shared = self.train(2, run=GPU, distributed={"share_device": True, "backend": "mpi"}, timeout=120)
        self.assert_near(shared.losses, self.train(run=GPU, timeout=120).losses)


if __name__ == "__main__":
    unittest.main()
