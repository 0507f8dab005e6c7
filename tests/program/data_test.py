# ctest-processors: 1
# ctest-timeout: 300
"""Data from end to end: tokenizers, JSON lines, folders, shards of other programs, and what training makes of them."""

import array
import json
import math
import resource
import unittest

from harness import CONFIGURATION, DATA, DONE, SOURCE, USAGE, ProgramTest, reprise, shard, text
from mixed_text import mixed_text

TOKENIZERS = SOURCE / "tests" / "training" / "tokenizers"


def tokens_in(folder, split, kind="H"):
    return [token for path in sorted(folder.glob(f"{split}_*.bin"))
            for token in array.array(kind, path.read_bytes()[1024:])]


class Prepare(ProgramTest):
    def prepare(self, name, *arguments):
        folder = self.folder / name
        result = reprise("data", "prepare", "--out", folder, *arguments)
        self.assertEqual(result.returncode, DONE, result.stderr)
        self.assertEqual(len(result.stderr.strip().splitlines()), 1)  # it took less than five seconds
        self.assertRegex(result.stderr, r"preparing: 100 % of .*, [0-9.]+ MB/s\n$")
        return folder

    def corpus(self):
        """A folder with a long file, whose blocks are cut at many places, short ones and JSON lines."""
        folder = self.folder / "corpus"
        (folder / "sub").mkdir(parents=True)
        written = mixed_text(900_000, 1)
        (folder / "long.txt").write_text(written, encoding="utf-8", newline="")
        (folder / "code.txt").write_text("if (x) {\n    y();\n}\n\n" * 90_000)
        (folder / "sub" / "broken.txt").write_bytes(b"\xff\xfe" + bytes(range(256)) * 5000)
        lines = [json.dumps({"id": i, "body": written[300 * i:300 * i + 400]}, ensure_ascii=i % 2 == 0)
                 for i in range(2900)]
        (folder / "sub" / "lines.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / ".hidden").write_text("not for training")
        return folder

    def test_threads_change_no_byte(self):
        corpus = self.corpus()
        for name in ("gpt2", "llama3"):
            tokenizer = TOKENIZERS / f"{name}.json"
            arguments = ["--tokenizer", tokenizer, "--field", "body", "--shard-tokens", 300_000, corpus]
            files = []
            for threads in (1, 5):
                folder = self.prepare(f"{name}{threads}", "--threads", threads, *arguments)
                files.append({path.name: path.read_bytes() for path in folder.iterdir()})
            self.assertEqual(files[0], files[1])
            self.assertIn("train_000003.bin", files[0])
            self.assertEqual(files[0]["tokenizer.json"], tokenizer.read_bytes())
            self.assertEqual(json.loads(files[0]["dataset.json"])["tokenizer"], "tokenizer.json")

    def test_inspect(self):
        folder = self.prepare("gpt2", "--tokenizer", TOKENIZERS / "gpt2.json", "--field", "body", self.corpus())
        result = reprise("data", "inspect", folder, "--json")
        facts = json.loads(result.stdout.splitlines()[-1])
        self.assertEqual((facts["vocabulary"], facts["documents"]), (605, 2903))
        self.assertIn("uint16 (llm.c)", result.stdout)
        self.assertTrue(facts["train"]["excerpt"])
        one = sorted(folder.glob("train_*.bin"))[0]
        facts = json.loads(reprise("data", "inspect", one, "--json").stdout.splitlines()[-1])
        self.assertEqual(facts["file"]["tokens"], len(array.array("H", one.read_bytes()[1024:])))
        one.write_bytes(shard([5, 604, 605]))
        self.assert_fails(reprise("data", "inspect", one), DATA, "token 2 is 605, but the vocabulary ends at 604")

    def test_a_folder_that_cannot_be_read_is_named(self):
        """Whatever the reason: here the limit on open files, which holds for root, too."""
        corpus = self.folder / "corpus"
        deepest = corpus.joinpath(*["sub"] * 60)
        deepest.mkdir(parents=True)
        (corpus / "a.txt").write_text("a" * 100)
        (deepest / "b.txt").write_text("b" * 100)
        result = reprise("data", "prepare", "--out", self.folder / "out", corpus,
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50)))
        self.assert_fails(result, DATA, f"{corpus}/sub/sub", "cannot be read: Too many open files")
        self.assertFalse((self.folder / "out").exists())

    def test_bad_options(self):
        corpus = self.folder / "a.txt"
        corpus.write_text("a" * 100)
        for code, words, *arguments in (
                (USAGE, "--shard-tokens", "--shard-tokens", "1"), (USAGE, "--format", "--format", "xml"),
                (DATA, "unknown tokenizer 'words'", "--tokenizer", "words"),
                (DATA, "gpt3.json", "--tokenizer", "gpt3.json"), (DATA, "a.txt:1: is not JSON", "--format", "jsonl")):
            result = reprise("data", "prepare", "--out", self.folder / "out", *arguments, corpus)
            self.assert_fails(result, code, words)


class Use(ProgramTest):
    def test_train_evaluate_and_sample_with_a_tokenizer(self):
        lines = self.folder / "lines.jsonl"
        lines.write_text("".join(json.dumps({"text": text(300, seed)}) + "\n" for seed in range(200)))
        folder = self.folder / "bpe"
        self.run_ok("data", "prepare", "--out", folder, "--tokenizer", TOKENIZERS / "gpt2.json", lines)
        run = self.train(data={"directory": str(folder)}, run={"steps": 5}, snapshot={"every_steps": 5})
        for kept in (run.folder / "tokenizer.json", run.folder / "final" / "tokenizer.json"):
            self.assertEqual(kept.read_bytes(), (TOKENIZERS / "gpt2.json").read_bytes())
        self.assertIn("vocabulary: 605", (run.folder / "config.yaml").read_text())
        facts = self.json_of("eval", run.folder, "--data", folder)
        tokens = tokens_in(folder, "validation")
        texts = tokens.count(0) * 300  # ten documents are held out
        self.assertEqual(texts, 3000)
        self.assertAlmostEqual(facts["bits_per_byte"], facts["loss"] / math.log(2) * (len(tokens) - 1) / texts, 2)
        snapshot = run.folder / "snapshots" / "snapshot-00000005"
        self.assertEqual(self.json_of("eval", snapshot, "--data", folder), facts)
        self.run_ok("data", "prepare", "--out", self.folder / "bytes", lines)
        self.run_ok("data", "prepare", "--out", self.folder / "other", "--tokenizer", TOKENIZERS / "llama3.json", lines)
        for other in ("bytes", "other"):
            result = reprise("eval", snapshot, "--data", self.folder / other)
            self.assert_fails(result, DATA, "expected tokens of the run's tokenizer", f"{self.folder / other}: ",
                              f"--tokenizer {snapshot}/tokenizer.json")
        sample = self.run_ok("sample", run.folder, "--prompt", "né 中", "--tokens", "5")
        self.assertTrue(sample.startswith("né 中"))
        self.assertEqual(sample, self.run_ok("sample", run.folder, "--prompt", "né 中", "--tokens", "5"))

    def test_shards_of_other_programs(self):
        """The same tokens in llm.c's and nanoGPT's folders train to the same weights as in ours."""
        train, validation = text(20000, 0).encode(), text(1986, 1).encode()
        folders = {"llmc": {"fineweb_train_000001.bin": shard(train), "fineweb_val_000000.bin": shard(validation)},
                   "nanogpt": {"train.bin": array.array("H", list(train)).tobytes(),
                               "val.bin": array.array("H", list(validation)).tobytes(), "meta.pkl": b""},
                   "wide": {"train_000000.bin": shard(train, "I"), "validation_000000.bin": shard(validation)}}
        expected = self.train(run={"steps": 3}).outcome
        for name, files in folders.items():
            folder = self.folder / name
            folder.mkdir()
            for file, content in files.items():
                (folder / file).write_bytes(content)
            if name != "wide":
                arguments = ["train", self.config, f"data.directory={folder}", f"run.directory={self.folder / 'no'}"]
                self.assert_fails(reprise(*arguments), CONFIGURATION, "model.vocabulary", f"{folder}, which has no")
            run = self.train(data={"directory": str(folder)}, run={"steps": 3}, model={"vocabulary": 257})
            self.assertEqual(run.outcome, expected, name)
            if name != "wide":
                self.assert_fails(reprise("sample", run.folder, "--prompt", "a"), DATA, "no tokenizer.json")
                facts = self.json_of("eval", run.folder, "--data", folder)
                self.assertIsNone(facts["bits_per_byte"])
                inspected = self.json_of("data", "inspect", folder, "--tokenizer", "bytes")
                self.assertEqual(inspected["validation"]["excerpt"], validation.decode()[:240])


class Reference(ProgramTest):
    def test_tokens_are_those_of_the_tokenizers_package(self):
        try:
            import tokenizers
        except ImportError:
            self.skipTest("the Python package `tokenizers` is not installed")
        from mixed_text import fuzz
        written = mixed_text(300_000, 3) + fuzz(100_000, 4)
        corpus = self.folder / "corpus.txt"
        corpus.write_text(written, encoding="utf-8", newline="")
        for name in ("gpt2", "llama3"):
            folder = self.folder / name
            self.run_ok("data", "prepare", "--out", folder, "--tokenizer", TOKENIZERS / f"{name}.json", corpus)
            cut = written.encode()[:len(written.encode()) - len(written.encode()) // 20]
            while cut and (written.encode()[len(cut)] & 0xc0) == 0x80:
                cut = cut[:-1]
            reference = tokenizers.Tokenizer.from_file(str(TOKENIZERS / f"{name}.json"))
            self.assertEqual(tokens_in(folder, "train")[:-1],
                             reference.encode(cut.decode(), add_special_tokens=False).ids)


if __name__ == "__main__":
    unittest.main()
