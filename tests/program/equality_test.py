# ctest-timeout: 420
"""Every plan trains to the same bits: losses, gradient norms and weights after 20 steps, with dropout, for each family,
alone and on two ranks; replays are verified on the way. The bucket size changes nothing either, nor does switching
overlap off, nor that the ranks are threads."""

import unittest

from harness import ProgramTest

# Three layers are stages 1 to 6 of 0 (embedding) to 7 (head).
SEGMENTS = [{"first": 0, "last": 0, "recompute": False}, {"first": 1, "last": 3, "recompute": True},
            {"first": 4, "last": 4, "recompute": False}, {"first": 5, "last": 6, "recompute": True},
            {"first": 7, "last": 7, "recompute": False}]

POLICIES = [{"policy": "full"}, {"policy": "group", "group": 2}, {"policy": "every", "every": 2},
            {"policy": "ratio", "ratio": 0.4}, {"policy": "sqrt"}, {"policy": "list", "list": [0, 2]},
            {"policy": "segments", "segments": SEGMENTS}]

BUCKETS = [{"bucket_bytes": "64KiB", "first_bucket_bytes": "16KiB"},
           {"bucket_bytes": "64KiB", "first_bucket_bytes": "64KiB"},
           {"bucket_bytes": "1MiB", "first_bucket_bytes": "64KiB"},
           {"bucket_bytes": "25MiB", "first_bucket_bytes": "1MiB"},
           {"bucket_bytes": "64KiB", "first_bucket_bytes": "16KiB", "overlap": False}]

# The second choice: untied, and for llama with fewer key heads than query heads.
FAMILIES = [{"family": "gpt2"}, {"family": "llama", "kv_heads": 2, "tie_embeddings": False}, {"family": "postnorm"}]


class EveryPlanTheSameBits(ProgramTest):
    def check_policies(self, model, ranks):
        kept = self.train(ranks, model=model, checkpointing={"policy": "none"})
        self.assertEqual(len(kept.losses), 20)
        self.assertLess(kept.losses[-1], kept.losses[0])
        for policy in POLICIES:
            with self.subTest(model=model, ranks=ranks, policy=policy):
                run = self.train(ranks, model=model, checkpointing={**policy, "verify": 1})
                self.assertGreater(sum(step["recompute_seconds"] for step in run.of("step")), 0)
                self.assertEqual(run.outcome, kept.outcome)

    def check_buckets(self, model, ranks=2, choices=BUCKETS):
        model = {**model, "width": 96}  # 1.4 MB of gradients: one to more than twenty buckets
        runs = [self.train(ranks, model=model, batch={"global_sequences": 4 * ranks}, distributed=buckets,
                           checkpointing={"policy": "full"}) for buckets in choices]
        for buckets, run in zip(choices[1:], runs[1:]):
            with self.subTest(model=model, buckets=buckets):
                self.assertEqual(run.outcome, runs[0].outcome)

    def test_buckets_of_three_ranks(self):
        self.check_buckets(FAMILIES[0], 3, [*BUCKETS[:1], {"bucket_bytes": "auto"}, BUCKETS[3]])


def add_tests():
    for model in FAMILIES:
        for ranks in (1, 2):
            setattr(EveryPlanTheSameBits, f"test_policies_{model['family']}_{ranks}_ranks",
                    lambda self, model=model, ranks=ranks: self.check_policies(model, ranks))
        setattr(EveryPlanTheSameBits, f"test_buckets_{model['family']}",
                lambda self, model=model: self.check_buckets(model))


add_tests()

if __name__ == "__main__":
    unittest.main()
