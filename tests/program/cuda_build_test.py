# ctest-labels: slow
# ctest-timeout: 3600
"""The CUDA build: configures, compiles without a warning and links in a folder of its own, and its program starts on a
machine without a GPU. Skipped where nvcc, or LibTorch with all its NVIDIA wheels, is missing: that is looked for in
REPRISE_LIBTORCH_CUDA (a torch folder) and in the environment that scripts/setup.sh makes.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import BUILD, SOURCE, TINY, write_data

CACHE = Path(os.environ.get("REPRISE_CACHE", Path.home() / ".cache" / "reprise"))


def find_libtorch():
    given = os.environ.get("REPRISE_LIBTORCH_CUDA")
    for folder in [given] if given else glob.glob(str(CACHE / "venv/lib/python3*/site-packages/torch")):
        if Path(folder, "lib/libtorch_cuda.so").exists() and Path(folder, "../nvidia/nccl/lib/libnccl.so.2").exists():
            return folder
    return None


def why_not():
    libtorch = find_libtorch()
    if not libtorch:
        return "no LibTorch with its NVIDIA wheels: run scripts/setup.sh --cuda, or set REPRISE_LIBTORCH_CUDA to one"
    places = [str(Path(libtorch, "../nvidia/cu13/bin")), os.environ["PATH"], "/usr/local/cuda/bin"]
    return None if shutil.which("nvcc", path=":".join(places)) else "no nvcc here: run scripts/setup.sh --cuda"


def configure(folder, libtorch):
    return subprocess.run(["cmake", "-S", SOURCE, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                           "-DREPRISE_CUDA=ON", f"-DREPRISE_LIBTORCH={libtorch}"], capture_output=True, text=True)


class CudaBuild(unittest.TestCase):
    def run_here(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}")
        return done.stdout + done.stderr

    @unittest.skipIf(why_not(), why_not())
    def test_compiles_links_and_starts(self):
        libtorch, folder = find_libtorch(), BUILD / "cuda_build_test"
        done = configure(folder, libtorch)
        self.assertEqual(done.returncode, 0, done.stderr)
        output = self.run_here("cmake", "--build", str(folder), "--target", "reprise", "model_spin_gpu_test",
                               "--parallel", "2")
        warnings = [line for line in output.splitlines() if re.search(r"\bwarning\b", line)]
        self.assertEqual(warnings, [])

        commands = json.loads((folder / "compile_commands.json").read_text())
        of_nvcc = [each["command"] for each in commands if each["file"].endswith(".cu")]
        self.assertTrue(of_nvcc)
        for command in of_nvcc:
            self.assertIn("-std=c++17", command)
            self.assertIn("sm_90", command)
            self.assertNotIn("/torch/include", command)

        # It registers its kernels by being loaded; nothing else would keep it among the needs.
        self.assertIn("libtorch_cuda.so", self.run_here("readelf", "-d", str(folder / "reprise")))
        facts = json.loads(self.run_here(str(folder / "reprise"), "doctor", "--json").strip().splitlines()[-1])
        self.assertTrue(facts["nccl"]["in_build"])
        self.assertEqual(facts["nccl"]["refused"], "")
        self.assertEqual(Path(facts["nccl"]["path"]).resolve(),
                         Path(libtorch, "../nvidia/nccl/lib/libnccl.so.2").resolve())

        # Threads start in spite of what the CUDA libraries want of every stack.
        with tempfile.TemporaryDirectory(prefix="reprise-test-") as scratch:
            path = Path(scratch) / "tiny.yaml"
            path.write_text(json.dumps(TINY | {"data": {"directory": str(write_data(Path(scratch) / "data"))}}))
            output = self.run_here(str(folder / "reprise"), "train", str(path), "run.steps=1",
                                   f"run.directory={scratch}/run", "monitoring.prometheus.enabled=true")
            self.assertNotIn("no metrics endpoint", output)

    def test_a_libtorch_without_its_wheels_is_refused(self):
        with tempfile.TemporaryDirectory(prefix="reprise-test-") as folder:
            libtorch = Path(folder) / "torch"
            (libtorch / "lib").mkdir(parents=True)
            (libtorch / "include/torch/headeronly").mkdir(parents=True)
            (libtorch / "lib/libtorch_cpu.so").touch()
            (libtorch / "include/torch/headeronly/version.h").write_text("#define TORCH_VERSION_MAJOR 2\n")
            done = configure(Path(folder) / "build", libtorch)
        self.assertNotEqual(done.returncode, 0)
        message = " ".join(done.stderr.split())
        self.assertIn("REPRISE_CUDA=ON needs LibTorch with all its NVIDIA wheels", message)
        self.assertIn("libtorch_cuda.so is missing. Run scripts/setup.sh --cuda", message)


if __name__ == "__main__":
    unittest.main()
