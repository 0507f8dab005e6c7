# ctest-labels: root network
# ctest-timeout: 300
"""A job over two containers as docker/compose.yaml starts it, without an engine: namespaces in place of containers,
each with a network, host name, /dev/shm and processes of its own, and one folder that both see. docker/agent.sh and
docker/worker.sh start the ranks without ssh, exit codes come through, no side outlives the other, and
docker/healthcheck.sh tells well from ill."""

import os
import re
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from harness import (DONE, ENVIRONMENT, LOST, PEER_LOST, REPRISE, SOURCE, STOPPED, STORAGE, TERMINATED, USAGE,
                     RunningTest, ranks_of)
from two_hosts import TwoHosts, enter, why_not

DOCKER = SOURCE / "docker"
MPIRUN_LOST_HOST = 205
LIMIT_SECONDS = 20  # for the other side to notice that one is gone


def compose_environment():
    """What compose.yaml gives the workers' mpirun, with the scripts of this checkout."""
    found = dict(re.findall(r'^    (OMPI_MCA_\w+): "?([^\s"]+)', (DOCKER / "compose.yaml").read_text(), re.MULTILINE))
    assert set(found) >= {"OMPI_MCA_plm_rsh_agent"}, found
    return {key: value.replace("/reprise/docker", str(DOCKER)) for key, value in found.items()}


@unittest.skipIf(why_not(), why_not())
class TwoContainers(RunningTest):
    def setUp(self):
        super().setUp()
        self.hosts = self.enterContext(TwoHosts("1gbit"))
        self.launch = self.folder / "launch"
        self.launch.mkdir()

    def container(self, host, *command, **changes):
        """Starts a container; its process 1 is the command."""
        enclosed = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *map(str, command)]
        environment = {**ENVIRONMENT, **compose_environment(), "REPRISE": REPRISE, "REPRISE_LAUNCH": str(self.launch),
                       "REPRISE_WORKER_SECONDS": "30", **changes}
        started = subprocess.Popen([*enter(self.hosts.folder.name, host), *enclosed], env=environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(started.communicate)
        self.addCleanup(started.kill)  # and with it all in the container
        return started

    def worker(self, **changes):
        return self.container("h2", DOCKER / "worker.sh", **changes)

    def mpirun(self, *settings, **changes):
        return self.container("h1", SOURCE / "scripts/mpirun.sh", "--hosts", "h1:1,h2:1", "--interface", "eth0",
                              "train", self.config, f"run.directory={self.run_folder}", "distributed.deadline=5s",
                              *settings, **changes)

    def first_process(self, container):
        """Process 1 of a container, as the outside numbers it."""
        deadline = time.monotonic() + 10
        while True:
            for child in Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split():
                if not os.path.samefile(f"/proc/{child}/ns/pid", "/proc/self/ns/pid"):
                    return int(child)
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def codes(self, first, worker, limit=LIMIT_SECONDS):
        """Exit codes of both containers and what they wrote, which end within the limit."""
        outputs = [container.communicate(timeout=limit) for container in (first, worker)]
        time.sleep(0.2)
        self.assertEqual(ranks_of(self.run_folder), {}, "a rank stayed behind")
        return first.returncode, worker.returncode, "".join(text for pair in outputs for text in pair)

    def start_endless(self):
        worker, first = self.worker(), self.mpirun("run.steps=1000000", "snapshot.every_steps=50")
        self.wait_for_steps(first, 5)
        return first, worker

    def test_trains(self):
        worker = self.worker()
        code, ended, text = self.codes(self.mpirun(), worker, 60)
        self.assertEqual((code, ended), (DONE, 0), text)
        metrics = (self.run_folder / "metrics.jsonl").read_text()
        self.assertRegex(metrics, r'"ranks": 2\b')
        self.assertIn('"end"', metrics)

    def test_mpirun_first_and_a_wrong_setting(self):
        first = self.mpirun("model.heads=5")
        time.sleep(1)
        code, _, text = self.codes(first, self.worker(), 60)
        self.assertEqual(code, 78, text)

    def test_docker_stop_saves_and_a_second_start_goes_on(self):
        first, worker = self.start_endless()
        os.kill(self.first_process(first), signal.SIGUSR1)  # the image's STOPSIGNAL
        code, _, text = self.codes(first, worker)
        self.assertEqual(code, STOPPED, text)
        steps = self.steps()
        first, worker = self.start_endless()
        self.wait_for_steps(first, steps + 5)

    def test_the_first_container_is_killed(self):
        first, worker = self.start_endless()
        first.kill()
        code, _, text = self.codes(first, worker)
        self.assertEqual(code, -signal.SIGKILL, text)
        shutil.rmtree(self.run_folder)
        first, worker = self.start_endless()  # no command of old is in the way, or run again
        self.assertEqual(len(ranks_of(self.run_folder)), 2)

    def test_the_worker_is_killed_or_ended(self):
        for end, expected in ((subprocess.Popen.kill, -signal.SIGKILL),
                              (lambda worker: os.kill(self.first_process(worker), signal.SIGTERM), TERMINATED)):
            with self.subTest(expected):
                shutil.rmtree(self.run_folder, ignore_errors=True)
                first, worker = self.start_endless()
                end(worker)
                code, ended, text = self.codes(first, worker)
                self.assertIn(code, {MPIRUN_LOST_HOST} | LOST, text)
                self.assertEqual(ended, expected, text)

    def test_the_other_side_never_comes(self):
        first = self.mpirun(REPRISE_WORKER_SECONDS="1")
        output, errors = first.communicate(timeout=LIMIT_SECONDS)
        self.assertNotEqual(first.returncode, 0)
        self.assertIn("no docker/worker.sh took the command within 1 s: is container 'h2' up?", errors, output)
        # Its command went with it: a worker of now does not run it.
        worker = self.worker(REPRISE_WORKER_SECONDS="1")
        _, errors = worker.communicate(timeout=LIMIT_SECONDS)
        self.assertEqual((worker.returncode, errors.count("\n")), (PEER_LOST, 1), errors)
        self.assertIn("no command within 1 s", errors)
        self.assertFalse(self.run_folder.exists())

    def agent(self, command):
        return self.container("h1", DOCKER / "agent.sh", "h2", *command)

    def test_agent_is_like_ssh(self):
        worker, agent = self.worker(), self.agent(["hostname; echo 'a  b' $$ >&2;", "exit 7"])
        outputs = [container.communicate(timeout=LIMIT_SECONDS) for container in (agent, worker)]
        self.assertEqual((agent.returncode, worker.returncode), (7, 7))
        self.assertEqual(outputs[0], ("", ""))
        self.assertRegex("".join(outputs[1]), r"^h2\na  b \d+\n$")

    def test_agent_and_worker_notice_that_the_other_is_gone(self):
        for killed in ("agent", "worker"):
            started = self.launch / f"with_{killed}"
            sides = {"worker": self.worker(), "agent": self.agent(["touch", started, "&& sleep 1000"])}
            while not started.exists():
                time.sleep(0.05)
            sides.pop(killed).kill()
            name, other = sides.popitem()
            _, errors = other.communicate(timeout=LIMIT_SECONDS)
            code, message = {"worker": (TERMINATED, ""),
                             "agent": (PEER_LOST, "agent.sh: docker/worker.sh in container 'h2' is gone\n")}[name]
            self.assertEqual((other.returncode, errors), (code, message))

    def test_agent_wants_a_host_and_a_command(self):
        for words in (["h2"], ["../h2", "true"]):
            done = subprocess.run([DOCKER / "agent.sh", *words], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (USAGE, 1))

    def test_no_folder_for_the_pipes(self):
        for command in ([DOCKER / "agent.sh", "h2", "true"], [DOCKER / "worker.sh"]):
            done = subprocess.run(command, env={**ENVIRONMENT, "REPRISE_LAUNCH": str(self.folder / "nowhere")},
                                  capture_output=True, text=True, timeout=20, check=False)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (STORAGE, 1))

    def health(self, container, **changes):
        """(exit code, line) of the health check inside a container, with the test's folder as that of the runs."""
        inside = ["nsenter", "-t", self.first_process(container), "--net", "--uts", "--mount", "--pid",
                  DOCKER / "healthcheck.sh", self.folder]
        done = subprocess.run(list(map(str, inside)), env={**ENVIRONMENT, **changes}, capture_output=True, text=True,
                              timeout=30, check=False)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout.strip()

    def test_health(self):
        worker = self.worker()
        self.assertEqual(self.health(worker), (0, "healthy: 0 ranks here"))
        stale = self.folder / "killed"
        stale.mkdir()
        (stale / "prometheus_sd.json").write_text('[{"targets": ["127.0.0.1:9"], "labels": {"run": "x", "rank": "0"}}]')
        first = self.mpirun("run.steps=1000000", "distributed.deadline=30s", "monitoring.prometheus.enabled=true",
                            "monitoring.prometheus.listen=0.0.0.0:9400")
        self.wait_for_steps(first, 5)
        for container in (first, worker):
            self.assertEqual(self.health(container), (0, "healthy: 1 ranks here"))
        ranks = ranks_of(self.run_folder)
        os.kill(ranks[1], signal.SIGSTOP)
        self.assertEqual(self.health(worker), (1, "unhealthy: 0.0.0.0:9400 does not answer"))
        self.assertEqual(self.health(first), (0, "healthy: 1 ranks here"))  # not its rank
        time.sleep(2.1)  # rank 0 waits for the other one
        self.assertEqual(self.health(first, REPRISE_HEALTH_SECONDS="1"),
                         (1, "unhealthy: 0.0.0.0:9400 made no step for 1 s"))
        os.kill(ranks[1], signal.SIGCONT)


if __name__ == "__main__":
    unittest.main()
