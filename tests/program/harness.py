"""What the end-to-end tests share: a folder per test, a tiny corpus, a tiny configuration, the program alone or under
mpirun.

CTest says where the build is; by hand, `python3 tests/program/equality_test.py` takes build/release.
"""

import array
import json
import os
import random
import re
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

SOURCE = Path(os.environ.get("REPRISE_SOURCE", Path(__file__).resolve().parents[2]))
BUILD = Path(os.environ.get("REPRISE_BUILD", SOURCE / "build" / "release"))
REPRISE = str(BUILD / "reprise")
MPIRUN = ["mpirun", "--bind-to", "none", "--oversubscribe", "--mca", "btl", "vader,self"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "REPRISE_ALLOW_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
               "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_btl_vader_single_copy_mechanism": "none"}

# Exit codes of the program, and what mpirun returns when it is first to see a dead process.
DONE, USAGE, DATA, NOTHING_FITS, INTERNAL, STORAGE, PEER_LOST, CONFIGURATION = 0, 64, 65, 69, 70, 74, 75, 78
STOPPED, DIVERGED, TERMINATED = 85, 86, 143
LOST = {PEER_LOST, 137, 139, TERMINATED}

SHARD_KINDS, SHARD_HEADER = {"H": (20240520, 1), "I": (20240801, 7)}, 256

TINY = {
    "run": {"name": "tiny", "seed": 5, "steps": 20, "device": "cpu"},
    "model": {"family": "gpt2", "layers": 3, "width": 32, "heads": 4, "context": 32, "dropout": 0.1},
    "batch": {"global_sequences": 8, "micro_sequences": 2},
    "optimizer": {"learning_rate": 2e-3, "warmup_steps": 5},
    "monitoring": {"every_steps": 10, "prometheus": {"enabled": False}},
}


def shard(tokens, kind="H"):
    """The bytes of a token shard; kind "I" has four bytes a token."""
    header = array.array("i", [*SHARD_KINDS[kind], len(tokens)] + [0] * (SHARD_HEADER - 3))
    return header.tobytes() + array.array(kind, list(tokens)).tobytes()


def text(size, seed=0):
    """Text with something to learn: words of a small vocabulary."""
    generator = random.Random(seed)
    words = ["".join(generator.choices("etaoinshr", k=generator.randint(2, 7))) for _ in range(40)]
    return (" ".join(generator.choices(words, k=size // 3)) + "\n")[:size]


def write_data(folder, train_tokens=20000, validation_tokens=62 * 32 + 1, seed=0):
    """A data directory of bytes, without starting a process; the held-out text is 62 whole windows of the context."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train_000000.bin").write_bytes(shard(text(train_tokens, seed).encode()))
    (folder / "validation_000000.bin").write_bytes(shard(text(validation_tokens, seed + 1).encode()))
    return folder


def run(command, timeout=60, **options):
    """Runs to the end and returns exit code and both outputs; a run past the timeout fails the test."""
    return subprocess.run(command, timeout=timeout, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", **options)


def reprise(*arguments, timeout=60, **options):
    return run([REPRISE, *map(str, arguments)], timeout, **options)


def mpirun_command(ranks, *arguments):
    return [*MPIRUN, "-np", str(ranks), REPRISE, *map(str, arguments)]


def settings(values, prefix=""):
    """{"run": {"steps": 3}} as the program's overrides: run.steps=3."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={value if isinstance(value, str) else json.dumps(value)}"


class Run:
    """The files of a finished run."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.events = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]

    def of(self, event):
        return [record for record in self.events if record["event"] == event]

    @property
    def losses(self):
        return [record["loss"] for record in self.of("step")]

    @property
    def weights(self):
        return self.of("end")[0]["weights_xxh3"]

    @property
    def outcome(self):
        """All that the promise of equal bits covers."""
        return self.losses, [record["grad_norm"] for record in self.of("step")], self.weights


class ProgramTest(unittest.TestCase):
    """Each test gets a folder of its own with data/ and tiny.yaml in it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="reprise-test-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.data = write_data(self.folder / "data")
        self.config = self.write_config("tiny.yaml", {**TINY, "data": {"directory": str(self.data)}})
        self.runs = 0

    def write_config(self, name, values):
        path = self.folder / name
        path.write_text("".join(f"{section}: {json.dumps(keys)}\n" for section, keys in values.items()))
        return path

    def new_run_folder(self):
        self.runs += 1
        return self.folder / f"run{self.runs}"

    def train(self, ranks=1, timeout=60, **sections):
        """Trains the tiny configuration with changed sections, demands success and returns the Run."""
        folder = self.new_run_folder()
        arguments = ["train", self.config, f"run.directory={folder}", *settings(sections)]
        command = [REPRISE, *map(str, arguments)] if ranks == 1 else mpirun_command(ranks, *arguments)
        result = run(command, timeout)
        self.assertEqual(result.returncode, DONE, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}")
        return Run(folder)

    def run_ok(self, *arguments):
        result = reprise(*arguments)
        self.assertEqual(result.returncode, DONE, f"{result.stdout}\n{result.stderr}")
        return result.stdout

    def json_of(self, *arguments):
        """The document that --json prints as the last line of stdout."""
        return json.loads(self.run_ok(*arguments, "--json").splitlines()[-1])

    def assert_fails(self, result, code, *words):
        """The program ended with this code and said why, in one line that holds all words."""
        codes = code if isinstance(code, set) else {code}
        self.assertIn(result.returncode, codes, f"{result.stdout}\n{result.stderr}")
        messages = [line for line in result.stderr.splitlines() if line.startswith("reprise: ")]
        self.assertEqual(len(messages), 1, f"one message expected:\n{result.stderr}")
        for word in words:
            self.assertIn(word, messages[0])


def ranks_of(folder):
    """{rank: pid} of the processes that train into the folder."""
    found = {}
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and str(folder) in (process / "cmdline").read_text():
                rank = re.search(r"PMIX_RANK=(\d+)", (process / "environ").read_text())
                if rank:
                    found[int(rank.group(1))] = int(process.name)
        except OSError:
            pass  # it ended meanwhile
    return found


class RunningTest(ProgramTest):
    """Tests that do something to a run of two ranks while it trains into self.run_folder."""

    def setUp(self):
        super().setUp()
        self.run_folder = self.new_run_folder()

    def start(self, command):
        """Starts the run, which should take minutes, and returns it past its first steps."""
        job = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, errors="replace")
        self.addCleanup(self.end, job)
        self.wait_for_steps(job, 5)
        return job

    def steps(self):
        metrics = self.run_folder / "metrics.jsonl"
        return metrics.read_text().count('"event": "step"') if metrics.exists() else 0

    def wait_for_steps(self, job, count):
        started = time.monotonic()
        while self.steps() < count:
            self.assertIsNone(job.poll(), f"ended before step {count}")
            self.assertLess(time.monotonic() - started, 60)
            time.sleep(0.05)

    def end(self, job):
        for pid in ranks_of(self.run_folder).values():
            os.kill(pid, signal.SIGKILL)
        job.kill()
        job.communicate()

    def require_unfinished(self):
        time.sleep(0.2)
        self.assertEqual(ranks_of(self.run_folder), {}, "a rank stayed behind")
        self.assertFalse((self.run_folder / "final").exists())
        self.assertNotIn('"end"', (self.run_folder / "metrics.jsonl").read_text())
