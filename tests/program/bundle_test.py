# ctest-labels: root slow
# ctest-timeout: 900
"""What scripts/bundle.sh packs runs in a bare system that has LibTorch's folders and nothing else: no Open MPI, no
Python, no libstdc++. The system comes from debootstrap, or is the one in REPRISE_TEST_ROOT (it is changed)."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import BUILD, CONFIGURATION, SOURCE, TINY, Run, settings, write_data

LIMIT_BYTES = 60_000_000
INSIDE = """
mount --rbind /dev "$ROOT/dev" && mount -t proc proc "$ROOT/proc" && mount -t sysfs sys "$ROOT/sys" || exit 99
mount -t tmpfs shm "$ROOT/dev/shm" || exit 99
for part in torch nvidia; do
  if [ -d "$PACKAGES/$part" ]; then mount --bind "$PACKAGES/$part" "$ROOT/packages/$part" || exit 99; fi
done
exec chroot "$ROOT" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp REPRISE_ALLOW_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT=1 \
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none "$@"
"""


def libtorch():
    """The folder that this build was configured with: the run path of its program says so."""
    listing = subprocess.run(["ldd", str(BUILD / "reprise")], capture_output=True, text=True, check=True).stdout
    path = next(line.split()[2] for line in listing.splitlines() if "libtorch_cpu.so" in line)
    return Path(path).parents[1]


def why_not():
    if os.geteuid() != 0:
        return "needs root"
    if not os.environ.get("REPRISE_TEST_ROOT") and not shutil.which("debootstrap"):
        return "needs debootstrap, to make a bare system"
    return None


@unittest.skipIf(why_not(), why_not())
class Bundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="reprise-test-")
        cls.addClassCleanup(scratch.cleanup)
        cls.bundle = Path(scratch.name) / "bundle"
        cls.packed = subprocess.run([SOURCE / "scripts/bundle.sh", "--build", BUILD, cls.bundle], check=True,
                                    capture_output=True, text=True).stdout
        ready = os.environ.get("REPRISE_TEST_ROOT")
        cls.root = Path(ready or Path(scratch.name) / "root")
        if not ready:
            suite = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE).group(1)
            subprocess.run(["debootstrap", "--variant=minbase", suite, cls.root], check=True, stdout=subprocess.DEVNULL)
        for library in cls.root.glob("usr/lib/x86_64-linux-gnu/libstdc++.so*"):
            library.unlink()
        for part in ("torch", "nvidia"):
            (cls.root / "packages" / part).mkdir(parents=True, exist_ok=True)

    def setUp(self):
        self.home = self.root / "somewhere else"  # a bundle may be moved, and to where it likes
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        shutil.copytree(self.bundle, self.home / "bundle", symlinks=True)
        self.addCleanup(shutil.rmtree, self.home)
        write_data(self.home / "data")

    def run_inside(self, program, *arguments, libtorch_is="/packages/torch"):
        where = [f"REPRISE_LIBTORCH={libtorch_is}"] if libtorch_is else []
        command = ["unshare", "-m", "sh", "-c", INSIDE, "inside", *where, f"/somewhere else/bundle/{program}",
                   *arguments]
        return subprocess.run(list(map(str, command)), env={**os.environ, "ROOT": str(self.root),
                              "PACKAGES": str(libtorch().parent)}, capture_output=True, text=True, timeout=120)

    def test_is_small_and_holds_no_cuda(self):
        self.assertLess(sum(path.stat().st_size for path in self.bundle.rglob("*") if path.is_file()), LIMIT_BYTES)
        self.assertRegex(self.packed, r"bundle: [0-9.]+ MB in ")
        names = {path.name.split(".so")[0] for path in self.bundle.rglob("*.so*")}
        foreign = {"libtorch_cpu", "libtorch_cuda", "libc10", "libcudart", "libnccl", "libc", "libm"}
        self.assertEqual(names & foreign, set())

    def test_doctor(self):
        done = self.run_inside("reprise", "doctor", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Open MPI", json.loads(done.stdout.strip().splitlines()[-1])["mpi"]["library"])

    def test_two_ranks_train(self):
        values = {**TINY, "run": {"directory": "/somewhere else/run", "steps": 3},
                  "data": {"directory": "/somewhere else/data"}}
        (self.home / "tiny.yaml").write_text("run: {name: bundled}\n")
        done = self.run_inside("mpirun", "-np", 2, "--bind-to", "none", "--oversubscribe",
                               "/somewhere else/bundle/reprise", "train", "/somewhere else/tiny.yaml",
                               *settings(values))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        run = Run(self.home / "run")
        self.assertEqual((run.of("start")[0]["ranks"], len(run.losses)), (2, 3))

    def test_says_that_libtorch_is_missing(self):
        for where in (None, "/packages/nowhere"):
            done = self.run_inside("reprise", "doctor", libtorch_is=where)
            self.assertEqual(done.returncode, CONFIGURATION)
            self.assertRegex(done.stderr, r"\Areprise: LibTorch .* REPRISE_LIBTORCH .*\n\Z")


if __name__ == "__main__":
    unittest.main()
