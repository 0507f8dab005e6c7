# ctest-labels: slow
# ctest-timeout: 900
"""60 seconds of libFuzzer, under ASan and UBSan, on the readers of safetensors files, their indexes and config.json.

By hand, for longer: `REPRISE_FUZZ_SECONDS=3600 python3 tests/program/fuzz_test.py`. An input that breaks a reader is
kept as build/.../fuzz/crash-*; put it into tests/fuzz/safetensors_corpus once it is mended.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import BUILD, SOURCE

SOURCES = ["tests/fuzz/safetensors_fuzz.cpp", "training/safetensors.cpp", "training/input_file.cpp",
           "training/durable_file.cpp", "training/file_system.cpp", "training/hugging_face_config.cpp",
           "model/model_config.cpp"]
CORPUS = SOURCE / "tests" / "fuzz" / "safetensors_corpus"
SECONDS = int(os.environ.get("REPRISE_FUZZ_SECONDS", "60"))


def flags_of_the_build():
    """Where the build finds headers, and which libraries of LibTorch it links with."""
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    command = next(each["command"] for each in commands if each["file"].endswith("/training/safetensors.cpp"))
    words = shlex.split(command)
    includes = [word for before, word in zip(["", *words], words)
                if word.startswith(("-I", "-D")) or "-isystem" in (before, word)]
    torch = next(word for word in words if word.endswith("/torch/include"))[:-len("include")] + "lib"
    return includes, [f"{torch}/libtorch_cpu.so", f"{torch}/libc10.so", f"-Wl,-rpath,{torch}", "-lfmt",
                      f"-Wl,-rpath,{torch}/../../nvidia/cu13/lib", "-Wl,--allow-shlib-undefined"]


class Fuzz(unittest.TestCase):
    def run_here(self, command, **options):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", **options)
        self.assertEqual(done.returncode, 0, f"{' '.join(map(str, command))}\n{done.stderr[-6000:]}")
        return done.stderr

    def test_readers_survive(self):
        self.assertTrue(shutil.which("clang++"), "no clang++ here: apt-get install clang")
        folder = BUILD / "fuzz"
        folder.mkdir(exist_ok=True)
        includes, libraries = flags_of_the_build()
        objects = [folder / (source.replace("/", "_") + ".o") for source in SOURCES]
        compile_one = ["clang++", "-std=c++20", "-O1", "-gline-tables-only", "-fno-sanitize-recover=undefined",
                       "-fsanitize=fuzzer-no-link,address,undefined", *includes]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda source, object_file: self.run_here(
                [*compile_one, "-c", SOURCE / source, "-o", object_file]), SOURCES, objects))
        program = folder / "safetensors_fuzz"
        self.run_here(["clang++", "-fsanitize=fuzzer,address,undefined", *objects, *libraries, "-o", program])
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="reprise-test-", dir=memory) as found:
            (scratch := Path(found, "scratch")).mkdir()
            (inputs := Path(found, "inputs")).mkdir()
            output = self.run_here(
                [program, f"-max_total_time={SECONDS}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=4096",
                 f"-artifact_prefix={folder}/", "-print_final_stats=1", inputs, CORPUS],
                env={**os.environ, "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"})
        runs = int(re.search(r"stat::number_of_executed_units:\s*(\d+)", output).group(1))
        print(f"{runs} inputs, {re.findall(r'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+', output)[-1]}")
        self.assertGreater(runs, 20 * SECONDS)


if __name__ == "__main__":
    unittest.main()
