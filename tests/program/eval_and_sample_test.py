# ctest-timeout: 180
"""`reprise eval` under mpirun: the very figures of one process, printed once, whatever the number of ranks, and one
message when a rank cannot go on. `reprise sample`: what each option does, and what it refuses."""

import json
import shutil
import unittest

from harness import (CONFIGURATION, DATA, DONE, MPIRUN, REPRISE, SOURCE, USAGE, ProgramTest, reprise, run, text,
                     write_data)


class EvalOverRanks(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = self.train(run={"steps": 3}).folder
        self.held_out = write_data(self.folder / "held_out", validation_tokens=30011)  # eight batches, the last short

    def eval_by(self, *commands):
        """Under one mpirun, each pair of a number of ranks and a data folder."""
        parts = [["-np", str(ranks), REPRISE, "eval", str(self.model), "--data", str(data), "--json"]
                 for ranks, data in commands]
        return run([*MPIRUN, *parts[0], *(word for part in parts[1:] for word in (":", *part))])

    def test_same_figures_printed_once(self):
        alone = reprise("eval", self.model, "--data", self.held_out, "--json")
        self.assertEqual(alone.returncode, DONE, alone.stderr)
        self.assertIn('"tokens":30010', alone.stdout)
        for ranks in (1, 2, 3):
            with self.subTest(ranks=ranks):
                shared = self.eval_by((ranks, self.held_out))
                self.assertEqual((shared.returncode, shared.stdout), (DONE, alone.stdout), shared.stderr)

    def test_a_rank_that_fails(self):
        broken = self.folder / "broken"
        shutil.copytree(self.held_out, broken)
        shard = broken / "validation_000000.bin"
        shard.write_bytes(shard.read_bytes()[:-2])
        self.assert_fails(self.eval_by((1, self.held_out), (1, broken)), DATA, "rank 1 on ", str(shard))
        self.assert_fails(self.eval_by((2, self.folder / "nowhere")), DATA, "rank 0 on ", "nowhere")

    def test_ranks_that_see_other_data(self):
        other = write_data(self.folder / "other", validation_tokens=30011, seed=7)
        self.assert_fails(self.eval_by((2, self.held_out), (1, other)), CONFIGURATION, "rank 2 on ", "data is")

    def test_context_is_refused_once(self):
        command = [*MPIRUN, "-np", "2", REPRISE, "eval", self.model, "--data", self.held_out, "--context", "33"]
        self.assert_fails(run([*map(str, command)]), USAGE, "--context: expected 1 … 32, the model's context, got 33")


class SampleOptions(ProgramTest):
    def sample(self, *arguments):
        return reprise("sample", self.model, "--tokens", "60", *arguments)

    def test_options(self):
        self.model = self.train(run={"steps": 3}).folder
        greedy = self.sample("--temperature", "0")
        self.assertEqual(greedy.returncode, DONE, greedy.stderr)
        self.assertEqual(self.sample("--top-k", "1").stdout, greedy.stdout)
        self.assertEqual(self.sample("--top-p", "1e-9", "--seed", "4").stdout, greedy.stdout)
        self.assertEqual(self.sample("--top-k", "257", "--top-p", "1").stdout, self.sample().stdout)
        self.assertNotEqual(self.sample("--top-k", "3").stdout, self.sample().stdout)
        for option, value in (("--temperature", "-1"), ("--temperature", "nan"), ("--temperature", "inf"),
                              ("--top-k", "-1"), ("--top-k", "2.5"), ("--top-p", "0"), ("--top-p", "1.5"),
                              ("--top-p", "nan"), ("--tokens", "-1"), ("--seed", "-1"), ("--seed", "x")):
            with self.subTest(option=option, value=value):
                self.assert_fails(self.sample(f"{option}={value}"), USAGE, option)
        self.check_long_prompt()

    def test_a_tokenizer_of_another_model(self):
        self.model = self.train(model={"vocabulary": 256}, run={"steps": 3}).folder
        self.assertEqual(self.sample("--prompt", "the ").returncode, DONE)
        self.assert_fails(self.sample(), DATA, "expected tokens below 256, the model's vocabulary, got 256")

    def test_only_tokens_with_a_text_are_drawn(self):
        self.model = self.train(model={"vocabulary": 2000}, run={"steps": 1}).folder  # the tokenizer knows 257
        result = self.sample("--temperature", "100")
        self.assertEqual(result.returncode, DONE, result.stderr)

    def test_a_tokenizer_that_ends_no_document(self):
        corpus, data = self.folder / "corpus.txt", self.folder / "bpe"
        corpus.write_text(text(5000))
        tokenizer = SOURCE / "tests" / "training" / "tokenizers" / "gpt2.json"
        self.run_ok("data", "prepare", "--out", data, "--tokenizer", tokenizer, corpus)
        self.model = self.train(data={"directory": str(data)}, run={"steps": 1}).folder
        endless = json.loads(tokenizer.read_text())
        endless["added_tokens"] = []
        del endless["model"]["vocab"]["<|endoftext|>"]
        (self.model / "final" / "tokenizer.json").write_text(json.dumps(endless))
        result = self.sample("--prompt", "the ", "--temperature", "100")
        self.assertEqual(result.returncode, DONE, result.stderr)
        self.assert_fails(self.sample(), DATA, "expected an added token <|endoftext|>")

    def check_long_prompt(self):
        """Written whole, while the model sees its end; and stderr says so."""
        prompt = text(50)
        result = self.sample("--prompt", prompt)
        self.assertEqual(result.returncode, DONE)
        self.assertTrue(result.stdout.startswith(prompt))
        self.assertEqual(result.stderr, "reprise: the prompt has 50 tokens, of which the model sees the last 32, its "
                                        "context\n")
        cut = self.sample("--prompt", prompt[-32:])
        self.assertEqual(cut.stderr, "")
        self.assertEqual(cut.stdout, result.stdout[18:])


if __name__ == "__main__":
    unittest.main()
