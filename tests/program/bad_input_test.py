# ctest-processors: 1
# ctest-timeout: 420
"""Bad configurations, bad data and ranks that disagree: each ends at once with the documented exit code and one
message that names the place, and leaves nothing that could be taken for a run."""

import unittest

from harness import (CONFIGURATION, DATA, DONE, MPIRUN, REPRISE, STORAGE, TINY, USAGE, ProgramTest, mpirun_command,
                     reprise, run, settings, shard)

# Name, a section of the file, words of the message. The launcher's unit tests hold many more.
BROKEN_CONFIGS = [
    ("unknown key", "model: {widht: 32}", ["broken.yaml:2", "model.widht", "width"]),
    ("unknown section", "modle: {width: 32}", ["broken.yaml:2", "modle", "model"]),
    ("duplicate key", "model: {width: 32, width: 64}", ["broken.yaml:2", "width"]),
    ("wrong type", "run: {steps: many}", ["broken.yaml:2", "run.steps", "many"]),
    ("impossible value", "model: {width: 30, heads: 4}", ["model.heads"]),
    ("bad unit", "distributed: {bucket_bytes: 3 parsecs}", ["broken.yaml:2", "distributed.bucket_bytes"]),
    ("no YAML", "model: {width: 32", ["broken.yaml"]),
    ("merge key", "model: {<<: {width: 32}}", ["broken.yaml:2"]),
]


class BadConfiguration(ProgramTest):
    def train_broken(self, text, *overrides):
        path = self.folder / "broken.yaml"
        path.write_text(f"data: {{directory: {self.data}}}\n{text}\n")
        return reprise("train", path, f"run.directory={self.folder / 'run'}", *overrides)

    def test_broken_files(self):
        for name, text, words in BROKEN_CONFIGS:
            with self.subTest(name):
                self.assert_fails(self.train_broken(text), CONFIGURATION, *words)
                self.assertFalse((self.folder / "run").exists())

    def test_broken_overrides(self):
        for override, word in (("run.stepz=3", "run.steps"), ("run.steps=-1", "run.steps"),
                               ("model.family=gtp2", "gpt2"), ("checkpointing.list=[0, 99]", "checkpointing.list"),
                               ("checkpointing.every=2", "expected checkpointing.policy: every beside it, got list")):
            with self.subTest(override):
                result = self.train_broken("checkpointing: {policy: list}", override)
                self.assert_fails(result, CONFIGURATION, word)
                self.assertFalse((self.folder / "run").exists())

    def test_no_data_directory(self):
        path = self.write_config("no_data.yaml", TINY)
        self.assert_fails(reprise("train", path), CONFIGURATION, "data.directory")

    def test_no_configuration_file(self):
        self.assert_fails(reprise("train", self.folder / "nowhere.yaml"), CONFIGURATION, "nowhere.yaml")

    def test_unknown_command_and_option(self):
        for arguments, words in ((["trian"], ["no command trian", "see reprise --help"]),
                                 (["data", "prepar"], ["no command prepar", "see reprise data --help"]),
                                 (["train"], ["CONFIG", "see reprise train --help"]),
                                 (["train", self.config, "--stesp"], ["--stesp", "see reprise train --help"]),
                                 ([], ["see reprise --help"])):
            with self.subTest(arguments):
                self.assert_fails(reprise(*arguments), USAGE, *words)

    def test_no_folder_to_write_to(self):
        result = reprise("plan", self.config, "--policy", "none", "--timeline", self.folder / "nowhere" / "t.svg")
        self.assert_fails(result, STORAGE, "t.svg", f"no folder {self.folder / 'nowhere'}")

    def test_batch_that_ranks_cannot_share(self):
        result = run(mpirun_command(2, "train", self.config, f"run.directory={self.folder / 'run'}",
                                    "batch.global_sequences=6", "batch.micro_sequences=2"))
        self.assert_fails(result, CONFIGURATION, "batch.global_sequences", "8")
        self.assertFalse((self.folder / "run").exists())

    @staticmethod
    def contents(folder):  # but for who wrote there last
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}

    def test_run_that_exists(self):
        first = self.train(run={"steps": 2})
        again = ["train", self.config, "run.steps=3", f"run.directory={first.folder}"]
        before = self.contents(first.folder)
        self.assert_fails(reprise(*again), CONFIGURATION, "run.overwrite", str(first.folder))
        self.assertEqual(before, self.contents(first.folder))
        self.assertEqual(reprise(*again, "run.overwrite=true").returncode, DONE)


class BadData(ProgramTest):
    def train_on(self, train=None, validation=None):
        """Trains on shards with the given bytes; None leaves the good one."""
        for name, content in (("train", train), ("validation", validation)):
            if content is not None:
                (self.data / f"{name}_000000.bin").write_bytes(content)
        return reprise("train", self.config, f"run.directory={self.folder / 'run'}")

    def test_missing_folder_and_shards(self):
        nowhere = reprise("train", self.config, f"data.directory={self.folder / 'nowhere'}")
        self.assert_fails(nowhere, DATA, "data.directory: ", "nowhere is no folder", "reprise data prepare --out")
        (self.data / "train_000000.bin").unlink()
        self.assert_fails(self.train_on(), DATA, str(self.data))

    def test_damaged_shards(self):
        good = shard([1] * 4000)
        damaged = {"truncated": good[:-100], "too long": good + b"\0\0", "half a header": good[:500], "empty": b"",
                   "wrong magic": b"\0" + good[1:], "wrong version": good[:4] + b"\7" + good[5:],
                   "no tokens": shard([])}
        for name, content in damaged.items():
            for split in ("train", "validation"):
                with self.subTest(name, split=split):
                    other = "validation" if split == "train" else "train"
                    result = self.train_on(**{split: content, other: good})
                    self.assert_fails(result, DATA, f"{split}_000000.bin")
                    self.assertFalse((self.folder / "run" / "final").exists())

    def test_too_few_tokens_for_one_window(self):
        for split in ("train", "validation"):
            with self.subTest(split):
                other = "validation" if split == "train" else "train"
                result = self.train_on(**{split: shard([1] * 20), other: shard([1] * 4000)})
                self.assert_fails(result, DATA, str(self.data), split)

    def test_token_out_of_range(self):
        tokens = [1] * 4000
        tokens[2000] = 257
        for split in ("train", "validation"):
            with self.subTest(split):
                other = "validation" if split == "train" else "train"
                result = self.train_on(**{split: shard(tokens), other: shard([1] * 4000)})
                self.assert_fails(result, DATA, f"{split}_000000.bin", "257")
                self.assertFalse((self.folder / "run" / "final").exists())

    def test_prepare_without_input(self):
        result = reprise("data", "prepare", "--out", self.folder / "out", self.folder / "nothing.txt")
        self.assert_fails(result, DATA, "nothing.txt")


class RanksThatDisagree(ProgramTest):
    def test_different_setting_on_rank_1(self):
        common = [REPRISE, "train", str(self.config), f"run.directory={self.folder / 'run'}"]
        for setting in ({"optimizer": {"learning_rate": 0.5}}, {"model": {"layers": 2}}, {"run": {"seed": 9}}):
            with self.subTest(setting):
                (odd,) = settings(setting)
                result = run([*MPIRUN, "-np", "1", *common, ":", "-np", "1", *common, odd])
                self.assert_fails(result, CONFIGURATION, "rank 1", odd.split("=")[0], odd.split("=")[1])
                self.assertFalse((self.folder / "run").exists())

    def test_plans_and_buckets_may_not_differ_either(self):
        common = [REPRISE, "train", str(self.config), f"run.directory={self.folder / 'run'}"]
        result = run([*MPIRUN, "-np", "1", *common, ":", "-np", "1", *common, "distributed.bucket_bytes=1MiB"])
        self.assert_fails(result, CONFIGURATION, "rank 1", "distributed.bucket_bytes")


if __name__ == "__main__":
    unittest.main()
