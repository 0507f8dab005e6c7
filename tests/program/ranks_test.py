# ctest-timeout: 240
"""One, two and four ranks, and one, two and four micro-batches on each, train to the same losses: the global batch is
the mathematics, its partition is not. Not bitwise: the order of the sums differs; 1e-5 relative."""

import unittest

from harness import ProgramTest

GLOBAL_SEQUENCES = 16


class SameLossesHoweverSplit(ProgramTest):
    def check(self, dropout):
        reference = None
        for ranks in (1, 2, 4):
            for micro_batches in (1, 2, 4):
                batch = {"global_sequences": GLOBAL_SEQUENCES,
                         "micro_sequences": GLOBAL_SEQUENCES // ranks // micro_batches}
                run = self.train(ranks, model={"dropout": dropout}, batch=batch)
                reference = reference or run
                with self.subTest(ranks=ranks, micro_batches=micro_batches):
                    self.assertEqual(len(run.losses), 20)
                    self.assertEqual([step["tokens"] for step in run.of("step")], [GLOBAL_SEQUENCES * 32] * 20)
                    for loss, expected in zip(run.losses, reference.losses):
                        self.assertAlmostEqual(loss, expected, delta=1e-5 * expected)

    def test_without_dropout(self):
        self.check(0.0)

    def test_with_dropout(self):
        self.check(0.1)

    def test_dropout_and_seed_matter(self):
        plain = self.train(model={"dropout": 0.0}, run={"steps": 3})
        self.assertNotEqual(plain.losses, self.train(model={"dropout": 0.1}, run={"steps": 3}).losses)
        self.assertNotEqual(plain.losses, self.train(model={"dropout": 0.0}, run={"steps": 3, "seed": 6}).losses)


if __name__ == "__main__":
    unittest.main()
