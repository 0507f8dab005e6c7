# ctest-labels: root slow
# ctest-timeout: 5400
"""docker/Dockerfile, target cpu, built for real without a container engine (buildah with chroot isolation, on a base
that debootstrap makes) and run as compose.yaml runs it: user 1000, a root that is read only, no capability. Two ranks
train in one container and over two, the health check sees them, every licence is there, no layer holds a secret.

The first build compiles everything; later ones find most in build/image-cache. For packages it uses the machine's apt
configuration and certificates, of which nothing may stay."""

import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import unittest
from pathlib import Path

from harness import BUILD, SOURCE, STOPPED, Run, write_data
from two_hosts import TwoHosts, enter
from two_hosts import why_not as why_no_hosts

TAG = "localhost/reprise-test:cpu"
SOURCES = """deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
"""
# What an engine does: the image's root with its own /proc, /dev and /sys, temporary folders, volumes, nothing else.
CONTAINER = """
mount --bind "$ROOT" "$ROOT" && mount -o remount,bind,ro "$ROOT" && mount -t proc proc "$ROOT/proc" &&
mount -t sysfs -o ro sys "$ROOT/sys" && mount --rbind /dev "$ROOT/dev" &&
mount -t tmpfs -o size=1g shm "$ROOT/dev/shm" && mount -t tmpfs -o noexec tmp "$ROOT/tmp" &&
mount --bind /etc/hosts "$ROOT/etc/hosts" || exit 99
for volume in runs data launch; do mount --bind "$VOLUMES/$volume" "$ROOT/reprise/$volume" || exit 99; done
exec chroot "$ROOT" env -i -C /reprise "$@"
"""
USER = ["setpriv", "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
SECRET_NAMES = re.compile(r"(^|/)(\.netrc|\.git|\.ssh|id_(rsa|dsa|ecdsa|ed25519)|ssh_host_.*|authorized_keys|\.?ccache|"
                          r"\.cache|\.env|\.npmrc|\.pypirc|pip\.conf|auth\.conf|\.(bash|python)_history|"
                          r"[^/]*\.(key|pem|p12|pfx))$")
SECRETS = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{20}|\bgh[pousr]_[A-Za-z0-9]{36}|"
                     rb"\bhf_[A-Za-z]{34}\b|\bAKIA[0-9A-Z]{16}\b|\bglpat-[\w-]{20}|"
                     rb"://[\w.-]{1,64}:[\w.-]{1,64}@[a-z0-9]")


def why_not():
    for program in ("buildah", "debootstrap", "setpriv"):
        if not shutil.which(program):
            return f"needs the package of {program}"
    return why_no_hosts()


@unittest.skipIf(why_not(), why_not())
class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="reprise-image-", dir=BUILD)
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = Path(scratch.name)
        cls.driver = "overlay"
        if cls.run_buildah("from", "scratch", check=False).returncode:  # the build folder is on an overlay itself
            cls.driver = "vfs"
        cls.addClassCleanup(subprocess.run, ["umount", "--recursive", "--lazy", cls.scratch / "root" / cls.driver],
                            stderr=subprocess.DEVNULL, check=False)
        cls.addClassCleanup(cls.run_buildah, "rm", "--all", check=False)
        cls.make_base()
        cls.context = cls.scratch / "context"
        shutil.copytree(SOURCE, cls.context, ignore=shutil.ignore_patterns("build", "runs", "data"))
        (cls.context / ".netrc").write_text("machine example.org login me password planted\n")
        (cls.context / "configs" / "__pycache__").mkdir()
        cls.build("cpu", TAG)
        cls.build("build-cpu", TAG + "-build")  # the stage before, all of it from the cache
        cls.image = json.loads(cls.buildah("inspect", "--type", "image", TAG))["Docker"]["config"]
        cls.root = Path(cls.mount(TAG))

    @classmethod
    def mount(cls, image):
        return cls.buildah("mount", cls.buildah("from", "--pull-never", image).strip()).strip()

    @classmethod
    def run_buildah(cls, *arguments, check=True):
        place = ["--storage-driver", cls.driver, "--root", cls.scratch / "root", "--runroot", cls.scratch / "run"]
        cache = BUILD / "image-cache"  # compiled files, by the Dockerfile's cache mount
        cache.mkdir(exist_ok=True)
        return subprocess.run(list(map(str, ["buildah", *place, *arguments])), env={**os.environ, "TMPDIR": str(cache)},
                              check=check, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    @classmethod
    def buildah(cls, *arguments):
        done = cls.run_buildah(*arguments, check=False)
        if done.returncode:
            raise AssertionError(f"buildah {arguments[0]}:\n{done.stdout[-5000:]}\n{done.stderr[-2000:]}")
        return done.stdout + done.stderr if arguments[0] == "bud" else done.stdout

    @classmethod
    def make_base(cls):
        base = cls.scratch / "base"
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", base], check=True, stdout=subprocess.DEVNULL)
        for folder in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log"):
            shutil.rmtree(base / folder)
            (base / folder).mkdir()
        (base / "etc/apt/sources.list").write_text(SOURCES)
        (base / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (base / "usr/sbin/policy-rc.d").chmod(0o755)
        container = cls.buildah("from", "scratch").strip()
        cls.buildah("add", container, base, "/")
        cls.buildah("config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
        for tag in ("bookworm", "bookworm-slim"):
            cls.buildah("commit", container, f"docker.io/library/debian:{tag}")
        cls.apt_configuration = sorted(os.listdir(base / "etc/apt/apt.conf.d"))
        shutil.rmtree(base)

    @classmethod
    def build(cls, target, tag):
        mounts = [f"--volume={path}:{path}:ro" for path in ("/etc/apt/apt.conf.d", "/usr/local/share/ca-certificates")
                  if Path(path).is_dir()]
        return cls.buildah("bud", "--isolation", "chroot", "--pull-never", "--layers", "--format", "docker", *mounts,
                           "--target", target, "--tag", tag, "--file", cls.context / "docker/Dockerfile", cls.context)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="reprise-test-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for volume in ("runs", "data", "launch"):
            (self.folder / volume).mkdir()
            (self.folder / volume).chmod(0o777)
        write_data(self.folder / "data" / "text", 200000, 200 * 128 + 1)

    def start(self, *command, prefix=(), user="1000:1000", environment=()):
        """Starts a container; its process 1 is the command."""
        uid, gid = user.split(":")
        as_user = [*USER, "--reuid", uid, "--regid", gid]
        whole = [*prefix, "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", CONTAINER, "container",
                 *self.image["Env"], *environment, *as_user, *command]
        started = subprocess.Popen(list(map(str, whole)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, "ROOT": str(self.root), "VOLUMES": str(self.folder)})
        self.addCleanup(started.communicate)
        self.addCleanup(started.kill)
        return started

    def run_inside(self, *command, code=0, **options):
        started = self.start(*command, **options)
        output, errors = started.communicate(timeout=120)
        self.assertEqual(started.returncode, code, f"{output}\n{errors}")
        return output + errors

    def inside(self, container):
        """Process 1 of a container, as the outside numbers it."""
        return int(Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()[0])

    def health(self, container):
        """What the image's health check says in a running container, as its user."""
        command = ["nsenter", "-t", self.inside(container), "--net", "--uts", "--mount", "--pid", "--root", "--wd",
                   *USER, "--reuid", 1000, "--regid", 1000, *self.image["Healthcheck"]["Test"][1:]]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=40, check=False)
        return done.returncode, done.stdout + done.stderr

    def wait_for_steps(self, run, count, container):
        metrics, deadline = self.folder / "runs" / run / "metrics.jsonl", time.monotonic() + 120
        while not metrics.exists() or metrics.read_text().count('"event": "step"') < count:
            self.assertIsNone(container.poll(), "ended early")
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    def test_is_locked_up(self):
        look = "id -u; id -g; grep ^Cap /proc/1/status; touch /tmp/x; touch /reprise/x /usr/x"
        text = self.run_inside("sh", "-c", look, code=1)
        self.assertRegex(text, r"^1000\n1000\n")
        self.assertEqual(set(re.findall(r"Cap\w+:\t(\w+)", text)), {"0" * 16})
        self.assertEqual(text.count("Read-only file system"), 2)
        self.assertEqual((self.image["User"], self.image["StopSignal"]), ("1000:1000", "SIGUSR1"))
        self.assertFalse((self.root / "usr/sbin/sshd").exists())
        self.assertIn("reprise", self.run_inside(*self.image["Cmd"], user="1234:1234"))

    def test_two_ranks_train(self):
        train = ["scripts/mpirun.sh", "--per-host", 2, "train", "configs/quickstart.yaml"]
        container = self.start(*train, "run.steps=1000000")
        self.wait_for_steps("quickstart", 3, container)
        self.assertEqual(self.health(container), (0, "healthy: 2 ranks here\n"))
        os.kill(self.inside(container), getattr(signal, self.image["StopSignal"]))
        output = container.communicate(timeout=60)
        self.assertEqual(container.returncode, STOPPED, output)
        self.run_inside(*train, "run.overwrite=true", "run.steps=3")
        run = Run(self.folder / "runs/quickstart")
        self.assertEqual((run.of("start")[0]["ranks"], len(run.losses)), (2, 3))

    def test_two_containers_train(self):
        hosts = self.enterContext(TwoHosts("1gbit"))
        compose = (SOURCE / "docker/compose.yaml").read_text()
        options = {"environment": [f"{key}={value}" for key, value in
                                   re.findall(r'^    (OMPI_MCA_\w+): "?([^\s"]+)', compose, re.MULTILINE)]}
        worker = self.start("docker/worker.sh", prefix=enter(hosts.folder.name, "h2"), **options)
        self.run_inside("scripts/mpirun.sh", "--hosts", "h1:1,h2:1", "--interface", "eth0", "train",
                        "configs/quickstart.yaml", "run.steps=3", prefix=enter(hosts.folder.name, "h1"), **options)
        self.assertEqual(worker.wait(timeout=20), 0)
        run = Run(self.folder / "runs/quickstart")
        self.assertEqual((run.of("start")[0]["ranks"], len(run.losses)), (2, 3))

    def test_carries_its_licences(self):
        docs = self.root / "usr/share/doc"
        for name in ("LICENSE", "THIRD_PARTY.md"):
            self.assertEqual((docs / "reprise" / name).read_bytes(), (SOURCE / name).read_bytes())
        texts = docs / "reprise/licences"
        packages = next(self.root.glob("opt/reprise/venv/lib/python3*/site-packages"))
        libraries = {path.name.split(".so")[0] for path in packages.rglob("*.so*")}
        self.assertEqual(libraries, {"libtorch_cpu", "libc10", "libgomp", "libcudart", "libcupti"})
        for wheel in ("torch", "nvidia_cuda_runtime", "nvidia_cuda_cupti"):
            self.assertGreater(sum(path.stat().st_size for path in texts.glob(f"{wheel}-*/licenses/*")), 1000, wheel)
        self.assertIn("Copyright", (texts / "libcli11-dev").read_text())
        installed = re.findall(r"^Package: (\S+)", (self.root / "var/lib/dpkg/status").read_text(), re.MULTILINE)
        self.assertIn("openmpi-bin", installed)
        for package in installed:
            self.assertTrue((docs / package / "copyright").exists(), package)

    def test_no_layer_holds_a_secret(self):
        for known in (b"-----BEGIN RSA PRIVATE KEY-----\n" + b"MIIE" * 8, b"ghp_" + b"a1" * 18, b"http://me:word@host"):
            self.assertRegex(known, SECRETS)
        self.buildah("push", "--disable-compression", "--quiet", TAG, f"oci:{self.folder / 'layers'}")
        layers = [path for path in (self.folder / "layers/blobs/sha256").iterdir() if tarfile.is_tarfile(path)]
        self.assertGreater(len(layers), 5)
        for layer in layers:
            with tarfile.open(layer) as files:
                for file in files:
                    self.assertNotRegex(file.name, SECRET_NAMES)
                    if file.isfile() and "/libgnutls.so" not in file.name:  # the keys of its own tests
                        self.assertIsNone(SECRETS.search(files.extractfile(file).read()), file.name)
        self.assertNotRegex(self.buildah("inspect", "--type", "image", TAG).encode(), SECRETS)
        self.assertEqual(sorted(os.listdir(self.root / "etc/apt/apt.conf.d")), self.apt_configuration)
        self.assertEqual(list(self.root.glob("usr/local/share/ca-certificates/*")), [])
        source = Path(self.mount(TAG + "-build"), "source")
        self.assertTrue((source / "model/stage.h").exists())
        self.assertFalse((source / ".netrc").exists() or (source / ".git").exists())

    def test_a_change_of_sources_leaves_libtorch_alone(self):
        with open(self.context / "model/stage.h", "a", encoding="utf-8") as header:
            header.write("// changed\n")
        output = self.build("libtorch-cpu", TAG + "-libtorch")
        self.assertEqual(len(re.findall(r"Using cache", output)), 5, output)
        self.assertNotIn("setup: ", output)


if __name__ == "__main__":
    unittest.main()
