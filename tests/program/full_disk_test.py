# ctest-labels: root
"""A disk that fills up (a small tmpfs, hence root): exit 74, one message that names the file, nothing
half-written."""

import shutil
import subprocess
import unittest

from harness import DONE, STORAGE, ProgramTest, reprise, text


class FullDisk(ProgramTest):
    def small_disk(self, size):
        disk = self.folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        return disk

    def leftovers(self, disk):
        return sorted(str(path.relative_to(disk)) for path in disk.rglob("*") if path.is_file())

    def test_weights(self):
        disk = self.small_disk("128k")  # the weights take 190 kB
        result = reprise("train", self.config, "run.steps=3", f"run.directory={disk / 'run'}")
        self.assert_fails(result, STORAGE, "model.safetensors", "No space left on device")
        self.assertEqual([name for name in self.leftovers(disk) if "safetensors" in name], [])
        self.assertNotIn('"end"', (disk / "run" / "metrics.jsonl").read_text())

    def test_metrics(self):
        disk = self.small_disk("32k")
        result = reprise("train", self.config, "run.steps=500", f"run.directory={disk / 'run'}", "model.width=8",
                         "model.heads=1", "model.layers=1")
        self.assert_fails(result, STORAGE, "No space left on device")
        self.assertFalse((disk / "run" / "final" / "model.safetensors").exists())

    def test_snapshots(self):
        run = self.folder / "run"
        command = ["train", self.config, "run.steps=12", f"run.directory={run}"]
        self.assertEqual(reprise(*command, "snapshot.every_steps=6").returncode, DONE)
        disk = self.small_disk("1000k")  # a snapshot takes 570 kB
        shutil.copytree(run / "snapshots" / "snapshot-00000006", disk / "snapshot-00000006")
        shutil.rmtree(run / "snapshots")
        (run / "snapshots").symlink_to(disk)
        result = reprise(*command, "snapshot.every_steps=3")
        self.assertEqual(result.returncode, DONE, result.stderr)
        self.assertIn("goes on after step 6", result.stdout)
        lines = [line for line in result.stderr.splitlines() if line.startswith("reprise: ")]
        self.assertEqual(len(lines), 2, result.stderr)
        for line, step in zip(lines, (9, 12)):
            self.assertIn(f"snapshot of step {step} is dropped: ", line)
            self.assertIn("No space left on device; training goes on", line)
        self.assertEqual([path.name for path in disk.iterdir()], ["snapshot-00000006"])
        self.assertIn("goes on after step 6", reprise(*command).stdout)

    def test_prepare(self):
        disk = self.small_disk("64k")
        corpus = self.folder / "corpus.txt"
        corpus.write_text(text(100000))
        result = reprise("data", "prepare", "--out", disk / "data", corpus)
        self.assert_fails(result, STORAGE, "No space left on device")
        self.assertEqual([name for name in self.leftovers(disk) if name.endswith(".bin")], [])


if __name__ == "__main__":
    unittest.main()
