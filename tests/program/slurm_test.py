# ctest-labels: slow root
# ctest-timeout: 900
"""The batch scripts under a real Slurm, two nodes on this machine: preempted five times in a row, the job comes back
each time and ends with the bits of a run that nobody disturbed; cancelled, it stays away."""

import random
import time
import unittest

from harness import ENVIRONMENT, REPRISE, SOURCE, Run, RunningTest, ranks_of
from one_machine_slurm import OneMachineSlurm, wait_until, why_not

STEPS, PREEMPTIONS = 400, 5


class UnderSlurm(RunningTest):
    def setUp(self):
        super().setUp()
        reason = why_not()
        self.assertIsNone(reason, reason)
        (self.folder / "scripts").symlink_to(SOURCE / "scripts")
        self.hastened = set()
        self.slurm = self.enterContext(OneMachineSlurm())

    def submit(self, script, **settings):
        # "Nodes" with one host name must not meet in shared memory.
        environment = {**ENVIRONMENT, "REPRISE": REPRISE, "OMPI_MCA_btl": "tcp,self",
                       "OMPI_MCA_btl_tcp_if_include": "lo"}
        return self.slurm.run("sbatch", "--parsable", "--cpus-per-task=1", f"--output={self.folder}/log",
                              SOURCE / "scripts" / "slurm" / script, self.config, f"run.directory={self.run_folder}",
                              *(f"{key}={value}" for key, value in settings.items()), cwd=self.folder,
                              environment=environment)

    def log(self):
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def wait(self, what, job, happens):
        """A job that goes back into the queue waits for two minutes there; here a few seconds do, which Slurm needs
        until nothing of the start before is left."""
        def look():
            state, reason, restarts = self.slurm.state(job)
            if (state, reason) == ("PENDING", "BeginTime") and restarts not in self.hastened:
                self.hastened.add(restarts)
                self.slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now+6", check=False)
            return happens()
        try:
            wait_until(what, look, 120)
        except TimeoutError as error:
            self.fail(f"{error}\n{self.slurm.run('scontrol', 'show', 'job', job)}\n{self.log()}\n{self.slurm.logs()}")

    def preempted(self, script):
        whole = self.train(2, timeout=300, run={"steps": STEPS})
        generator = random.Random(3)
        job = self.submit(script, **{"run.steps": STEPS, "snapshot.every_steps": 25})
        for count in range(PREEMPTIONS):
            target = self.steps() + generator.randint(1, 40)
            self.wait(f"step {target}", job, lambda: len(ranks_of(self.run_folder)) == 2 and self.steps() >= target)
            self.slurm.run("scancel", "--batch", "--signal=USR1", job)
            self.wait(f"restart {count + 1}", job, lambda: int(self.slurm.state(job)[2]) == count + 1)
        self.wait("the end", job, lambda: self.slurm.state(job)[0] not in ("PENDING", "RUNNING", "COMPLETING"))
        self.assertEqual(self.slurm.state(job)[0], "COMPLETED", self.log())
        finished = Run(self.run_folder)
        self.assertEqual([record["step"] for record in finished.of("step")], list(range(1, STEPS + 1)))
        self.assertEqual(finished.outcome, whole.outcome)
        self.assertEqual(self.log().count("exit 85: saved at step"), PREEMPTIONS, self.log())
        self.assertIn(f"start {PREEMPTIONS + 1} on n[1-2]", self.log())

    def test_preempted_with_mpirun(self):
        self.preempted("train.sbatch")

    def test_preempted_with_srun(self):
        self.preempted("train-srun.sbatch")

    def test_cancelled(self):
        job = self.submit("train.sbatch", **{"run.steps": 10 ** 6})
        self.wait("step 5", job, lambda: self.steps() >= 5)
        self.slurm.run("scancel", job)
        self.wait("its end", job, lambda: self.slurm.state(job)[0] not in ("RUNNING", "COMPLETING"))
        time.sleep(1)
        self.assertEqual(self.slurm.state(job)[0], "CANCELLED", self.log())
        self.require_unfinished()


if __name__ == "__main__":
    unittest.main()
