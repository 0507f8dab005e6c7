# ctest-processors: 1
"""`reprise import` and `reprise export`: logits equal to those of transformers in both directions, where a Python with
torch and transformers is found (this one, or REPRISE_TRANSFORMERS=PYTHON); what a user meets, anywhere."""

import json
import os
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

from harness import BUILD, DATA, DONE, ENVIRONMENT, SOURCE, USAGE, ProgramTest, reprise, shard

FIXTURES = SOURCE / "tests" / "launcher" / "hugging_face"
PYTHON = os.environ.get("REPRISE_TRANSFORMERS", sys.executable)


def why_not():
    try:
        found = subprocess.run([PYTHON, "-c", "import torch, transformers, safetensors"], capture_output=True)
    except OSError as error:
        return f"REPRISE_TRANSFORMERS: {error}"
    return None if found.returncode == 0 else f"{PYTHON} has no torch and transformers; see REPRISE_TRANSFORMERS"


class Interop(ProgramTest):
    def run_ok(self, *arguments):
        result = reprise(*arguments)
        self.assertEqual(result.returncode, DONE, f"{result.stdout}\n{result.stderr}")
        return result.stdout

    def test_an_imported_model_is_evaluated_trained_and_exported(self):
        folder, out = self.folder / "imported", self.folder / "exported"
        self.assertIn("gpt2, 2 layers", self.run_ok("import", FIXTURES / "gpt2", "--to", folder))
        self.assertEqual({path.name for path in folder.iterdir()}, {"config.yaml", "model.safetensors"})
        (self.data / "validation_000000.bin").write_bytes(shard([i * 7 % 11 for i in range(100)]))
        output = self.run_ok("eval", folder, "--data", self.data, "--json")
        figures = json.loads(output.splitlines()[-1])
        self.assertEqual(figures["tokens"], 99)
        self.assertIsNone(figures["bits_per_byte"])
        self.assertNotIn("bits per byte", output.splitlines()[0])
        self.assert_fails(reprise("sample", folder), DATA, "tokenizer")
        self.run_ok("export", folder, "--to", out)
        self.assertEqual({path.name for path in out.iterdir()}, {"config.json", "model.safetensors"})
        resolved = self.run_ok("train", folder / "config.yaml", f"data.directory={self.data}", "--print-config")
        self.assertRegex(resolved, r"vocabulary: 11\b")

    def test_what_cannot_be_done_is_said(self):
        there = self.folder / "there"
        there.mkdir()
        self.assert_fails(reprise("import", FIXTURES / "gpt2", "--to", there), USAGE, "--to", "does not exist yet")
        self.assert_fails(reprise("import", self.data, "--to", self.folder / "run"), DATA, "model.safetensors.index")
        run = self.train(model={"family": "postnorm"}, run={"steps": 1})
        self.assert_fails(reprise("export", run.folder, "--to", self.folder / "out"), DATA, "postnorm")
        self.assertFalse((self.folder / "out").exists())

    def test_truncated_shard_is_named(self):
        model = self.folder / "model"
        shutil.copytree(FIXTURES / "llama", model)
        part = model / "model-00002-of-00003.safetensors"
        part.write_bytes(part.read_bytes()[:-1])
        self.assert_fails(reprise("import", model, "--to", self.folder / "run"), DATA, part.name)

    def models(self, *arguments):
        script = SOURCE / "tests" / "program" / "hugging_face_models.py"
        done = subprocess.run([PYTHON, script, *arguments], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])

    def compare(self, folder):
        """The unit test's comparison, over all models in the folder."""
        done = subprocess.run([BUILD / "tests" / "launcher_interop_test", "--gtest_filter=*LogitsOfTransformers"],
                              env={**ENVIRONMENT, "REPRISE_SOURCE": str(SOURCE), "REPRISE_LOGITS": str(folder)},
                              capture_output=True, text=True)
        print(*re.findall(r".*largest difference.*", done.stdout), sep="\n", file=sys.stderr)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-3000:])
        for model in folder.iterdir():
            self.assertIn(f"{model.name}: largest difference", done.stdout)

    @unittest.skipIf(why_not(), why_not())
    def test_imports_equal_transformers(self):
        folder = self.folder / "random"
        self.models("random", folder)
        self.compare(folder)

    @unittest.skipIf(why_not(), why_not())
    def test_exports_equal_transformers(self):
        folder = self.folder / "trained"
        for name, model in {"gpt2": {"family": "gpt2", "dropout": 0.1},
                            "llama": {"family": "llama", "kv_heads": 2, "tie_embeddings": False, "rope_theta": 3e4},
                            "tied": {"family": "llama", "width": 48}}.items():
            run = self.train(model={"dropout": 0.0, **model}, run={"steps": 30}, optimizer={"learning_rate": 0.02})
            shutil.copytree(run.folder, folder / name)
            exported = self.folder / f"{name}-exported"
            self.run_ok("export", run.folder, "--to", exported)
            self.models("expect", exported)
            shutil.copy(exported / "expected.safetensors", folder / name)
        self.compare(folder)


if __name__ == "__main__":
    unittest.main()
