"""scripts/slurm and scripts/mpirun.sh, with made-up mpirun, srun, scontrol and nvidia-smi in the PATH that note how
they are called and do what a test says."""

import os
import shutil
import signal
import subprocess
import time
import unittest

from harness import (CONFIGURATION, DIVERGED, DONE, ENVIRONMENT, PEER_LOST, REPRISE, SOURCE, STOPPED, TERMINATED,
                     USAGE, ProgramTest)

# What mpirun and srun do: a line of `plan` a call, "CODE STEP [waits]": leaves a snapshot of STEP unless that is -,
# waits for USR1 if told to, ends with CODE.
STARTER = """#!/bin/bash
printf '%s\\n' "$*" >> "$STUB/starter.calls"
read -r code step waits < "$STUB/plan"
sed -i 1d "$STUB/plan"
if [[ $step != - ]]; then
  folder=$STUB/run/snapshots/snapshot-$(printf %08d "$step")
  mkdir -p "$folder" && touch "$folder/manifest.json"
fi
trap 'echo TERM >> "$STUB/starter.calls"; exit 1' TERM
if [[ -n $waits ]]; then
  trap 'got=1; echo USR1 >> "$STUB/starter.calls"' USR1
  touch "$STUB/waiting"
  until [[ -n $got ]]; do sleep 0.05; done
  for _ in {1..10}; do sleep 0.05; done
fi
exit "$code"
"""
PRINTS_CONFIG = """#!/bin/bash
printf 'run:\\n  directory: %s   # command line\\nmodel:\\n  directory: no   # default\\n' "$STUB/run"
"""
SCONTROL = """#!/bin/bash
printf '%s\\n' "$*" >> "$STUB/scontrol.calls"
"""
GPUS = """#!/bin/bash
for ((i = 0; i < ${STUB_GPUS:-0}; i++)); do echo "GPU $i: made up"; done
"""


class ScriptTest(ProgramTest):
    def setUp(self):
        super().setUp()
        programs = self.folder / "bin"
        programs.mkdir()
        for name, text in (("mpirun", STARTER), ("srun", STARTER), ("scontrol", SCONTROL), ("nvidia-smi", GPUS),
                           ("reprise", PRINTS_CONFIG)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (self.folder / "scripts").symlink_to(SOURCE / "scripts")
        self.environment = {**ENVIRONMENT, "PATH": f"{programs}:{os.environ['PATH']}", "STUB": str(self.folder),
                            "REPRISE": str(programs / "reprise")}
        for name in [name for name in self.environment if name.startswith("SLURM_")]:
            del self.environment[name]

    def calls(self, name):
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def plan(self, *lines):
        (self.folder / "plan").write_text("".join(f"{line}\n" for line in lines))


class BatchScript(ScriptTest):
    script = "train.sbatch"

    def start(self, restarts=0):
        environment = {**self.environment, "SLURM_JOB_ID": "17", "SLURM_SUBMIT_DIR": str(self.folder),
                       "SLURM_NTASKS": "4", "SLURM_CPUS_PER_TASK": "3", "SLURM_RESTART_COUNT": str(restarts),
                       "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_GPUS_ON_NODE": "2", "REPRISE_INTERFACE": "ib0"}
        del environment["OMP_NUM_THREADS"]
        # As Slurm does, from a copy.
        copy = self.folder / "slurm_script"
        shutil.copy(SOURCE / "scripts" / "slurm" / self.script, copy)
        job = subprocess.Popen(["bash", copy, self.config, f"run.directory={self.folder / 'run'}"], env=environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
        self.addCleanup(self.end, job)
        return job

    def end(self, job):
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.communicate()

    def ended(self, job, code):
        _, self.log = job.communicate(timeout=60)
        self.assertEqual(job.returncode, code, self.log)

    def signal(self, job, *numbers):
        while not (self.folder / "waiting").exists():
            self.assertIsNone(job.poll(), "ended early")
            time.sleep(0.02)
        for number in numbers:
            job.send_signal(number)
            time.sleep(0.15)

    def test_done(self):
        self.environment["REPRISE"] = REPRISE
        self.plan("0 20")
        self.ended(self.start(), DONE)
        self.assertIn(f"run in {self.folder / 'run'}, newest snapshot: step 0", self.log)
        self.assertEqual(self.calls("scontrol"), [])
        self.check_starter(self.calls("starter"))

    def check_starter(self, calls):
        self.assertEqual(len(calls), 1)
        words = calls[0].split()
        self.assertEqual(words[:4], ["-np", "4", "--bind-to", "none"])
        self.assertIn("OMP_NUM_THREADS", words)
        for option in ("btl_tcp_if_include ib0", "oob_tcp_if_include ib0", "oob_tcp_keepalive_time 5"):
            self.assertIn(f"--mca {option}", calls[0])
        self.assertTrue(calls[0].endswith(f"{REPRISE} train {self.config} run.directory={self.folder / 'run'}"))

    def test_asked_to_stop_it_waits_and_goes_back_into_the_queue(self):
        self.plan(f"{STOPPED} 12 waits")
        job = self.start(restarts=2)
        self.signal(job, signal.SIGUSR1, signal.SIGUSR1)
        self.ended(job, STOPPED)
        self.assertEqual(self.calls("starter")[1:], ["USR1", "USR1"])
        self.assertEqual(self.calls("scontrol"), ["requeue 17"])
        self.assertIn("start 3 on n[1-2]", self.log)
        self.assertIn("newest snapshot: step 0\n", self.log)
        self.assertIn("exit 85: saved at step 12; requeues", self.log)

    def test_lost_ranks_are_retried_while_there_is_progress(self):
        codes = [PEER_LOST, 137, 139, 143, 205, DIVERGED, 134, 135, 138]
        self.plan("75 10", "137 -", "139 -", "143 20", "205 -", "86 -", "134 30", "135 -", "138 -", "75 -")
        for restarts, code in enumerate(codes):
            self.ended(self.start(restarts), code)
            self.assertEqual(len(self.calls("scontrol")), restarts + 1, self.log)
        self.ended(self.start(len(codes)), PEER_LOST)
        self.assertEqual(len(self.calls("scontrol")), len(codes))
        self.assertIn("ended 4 times in a row at step 30, without a newer snapshot: gives up", self.log)

    def test_what_a_person_must_mend_ends_the_job(self):
        for code in (USAGE, 65, 69, 70, 74, CONFIGURATION):
            self.plan(f"{code} -")
            self.ended(self.start(), code)
            self.assertIn("needs a person", self.log)
        self.assertEqual(self.calls("scontrol"), [])

    def test_settings_that_are_wrong_end_it_before_it_starts(self):
        self.environment["REPRISE"] = REPRISE
        self.config.write_text("run: {step: 3}\n")
        self.ended(self.start(), CONFIGURATION)
        self.assertIn("run.step", self.log)
        self.assertEqual(self.calls("starter"), [])

    def test_cancelled_it_ends_its_ranks_and_stays_out_of_the_queue(self):
        self.plan(f"{STOPPED} - waits")
        job = self.start()
        self.signal(job, signal.SIGTERM)
        self.ended(job, TERMINATED)
        self.assertEqual(self.calls("starter")[1:], ["TERM"])
        self.assertEqual(self.calls("scontrol"), [])


class SrunScript(BatchScript):
    script = "train-srun.sbatch"

    def check_starter(self, calls):
        self.assertEqual(calls, [f"--mpi=pmix --kill-on-bad-exit=1 --cpus-per-task=3 --gpu-bind=none {REPRISE} train "
                                 f"{self.config} run.directory={self.folder / 'run'}"])


class MpirunScript(ScriptTest):
    def mpirun(self, *words, code=DONE, **environment):
        """The script's mpirun's arguments, or what it said when it failed."""
        self.plan("0 -")
        (self.folder / "starter.calls").unlink(missing_ok=True)
        result = subprocess.run([SOURCE / "scripts" / "mpirun.sh", *words], env={**self.environment, **environment},
                                capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(result.returncode, code, result.stderr)
        return self.calls("starter")[0] if code == DONE else result.stderr

    def test_places_ranks(self):
        for words, gpus, place in (
                ([], 0, "-np 1 --host localhost:1"), ([], 8, "-np 8 --host localhost:8"),
                (["--per-host", "3"], 8, "-np 3 --host localhost:3"),
                (["--hosts", "a,b:2"], 4, "-np 6 --host a:4,b:2")):
            with self.subTest(words=words, gpus=gpus):
                called = self.mpirun(*words, "train", "x.yaml", STUB_GPUS=str(gpus))
                self.assertTrue(called.startswith(f"{place} --bind-to none -x "), called)
                self.assertTrue(called.endswith("/reprise train x.yaml"), called)
        hosts = self.folder / "hosts"
        hosts.write_text("# two\nn1 slots=2\n\n  n2   slots = 3 max_slots=4  # big\nn3\n")
        self.assertTrue(self.mpirun("--hostfile", hosts, "eval", "r").startswith("-np 6 --host n1:2,n2:3,n3:1 "))

    def test_passes_on(self):
        called = self.mpirun("--interface", "eth1", "--mpi", "--tag-output --mca a b", "train", "x", NCCL_DEBUG="INFO",
                             PYTORCH_ALLOC_CONF="expandable_segments:False")
        for words in ("-x NCCL_DEBUG", "-x NCCL_SOCKET_IFNAME", "-x OMP_NUM_THREADS", "-x REPRISE_ALLOW_ROOT",
                      "-x PYTORCH_ALLOC_CONF", "--mca btl_tcp_if_include eth1", "--mca oob_tcp_keepalive_probes 3",
                      "--tag-output --mca a b"):
            self.assertIn(words, called)
        self.assertNotIn("-x PATH", called)

    def test_refuses(self):
        for words, complaint in ((["--hosts"], "needs a value"), (["--hots", "a", "train"], "unknown option"),
                                 (["--hosts", "a:0", "train"], "not 'a:0'"), (["--per-host", "x", "train"], "not 'x'"),
                                 (["--hostfile", "/none", "train"], "cannot read"), ([], "which command")):
            with self.subTest(words):
                self.assertIn(complaint, self.mpirun(*words, code=USAGE))
        if os.geteuid() == 0:
            self.assertIn("REPRISE_ALLOW_ROOT=1", self.mpirun("train", "x", code=USAGE, REPRISE_ALLOW_ROOT="0"))

    def test_real_ranks(self):
        folder = self.new_run_folder()
        result = subprocess.run([SOURCE / "scripts" / "mpirun.sh", "--per-host", "3", "--mpi", "--mca btl vader,self",
                                 "train", self.config, f"run.directory={folder}", "batch.global_sequences=6"],
                                env={**ENVIRONMENT, "REPRISE": REPRISE}, capture_output=True, text=True, timeout=60,
                                check=False)
        self.assertEqual(result.returncode, DONE, result.stderr)
        self.assertIn("3 ranks", result.stdout)

    def test_help_and_shellcheck(self):
        result = subprocess.run([SOURCE / "scripts" / "mpirun.sh", "--help"], capture_output=True, text=True,
                                check=True)
        self.assertIn("scripts/mpirun.sh --hosts", result.stdout)
        if shutil.which("shellcheck"):
            scripts = [SOURCE / "scripts" / "mpirun.sh", *(SOURCE / "scripts" / "slurm").iterdir()]
            checked = subprocess.run(["shellcheck", "-x", "-P", SOURCE, *scripts], capture_output=True, text=True,
                                     check=False)
            self.assertEqual(checked.returncode, 0, checked.stdout)


if __name__ == "__main__":
    unittest.main()
