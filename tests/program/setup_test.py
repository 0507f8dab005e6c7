"""Which preset scripts/setup.sh picks for a machine: from its driver, what was set up before and what is asked."""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import SOURCE

SETUP = SOURCE / "scripts/setup.sh"


class Preset(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="reprise-test-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.environment = {**os.environ, "REPRISE_CACHE": folder.name, "REPRISE_DRIVER": f"{folder.name}/driver"}
        self.environment.pop("REPRISE_CUDA", None)

    def preset(self, **changes):
        done = subprocess.run([SETUP, "--preset"], env={**self.environment, **changes}, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def stamp(self, name):
        """What a finished set-up leaves behind."""
        wheels = re.search(rf"^{name}=\((.*)\)", SETUP.read_text(), re.MULTILINE).group(1).replace("'", "")
        (self.folder / "venv").mkdir(exist_ok=True)
        (self.folder / "venv/reprise-stamp").write_text(wheels + "\n")

    def test_a_driver_decides(self):
        self.assertEqual(self.preset(), "release\n")
        (self.folder / "driver").touch()
        self.assertEqual(self.preset(), "cuda\n")
        self.assertEqual(self.preset(REPRISE_CUDA="OFF"), "release\n")

    def test_cuda_once_set_up_stays(self):
        self.stamp("wheels")
        self.assertEqual(self.preset(), "release\n")
        self.stamp("cuda_wheels")
        self.assertEqual(self.preset(), "cuda\n")

    def test_the_environment_asks(self):
        self.assertEqual(self.preset(REPRISE_CUDA="ON"), "cuda\n")
        done = subprocess.run([SETUP, "--preset"], env={**self.environment, "REPRISE_CUDA": "yes"}, capture_output=True,
                              text=True)
        self.assertEqual((done.returncode, done.stderr), (1, "setup: REPRISE_CUDA is ON or OFF, not 'yes'\n"))

    def test_unknown_arguments_are_refused(self):
        for script in ("setup.sh", "gpu_check.sh", "bundle.sh"):
            done, helped = (subprocess.run([SOURCE / "scripts" / script, argument], env=self.environment,
                                           capture_output=True, text=True) for argument in ("--nonsense", "--help"))
            self.assertEqual(done.returncode, 64, script)
            self.assertIn("--help", done.stderr)
            self.assertEqual(helped.returncode, 0, script)
            self.assertIn(f"scripts/{script}", helped.stdout)


if __name__ == "__main__":
    unittest.main()
