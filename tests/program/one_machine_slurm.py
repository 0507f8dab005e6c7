"""A Slurm cluster of two "nodes" on this machine, for as long as a test needs it: its own munged, slurmctld and two
slurmd on free ports, everything in one folder. Needs root, and of Debian slurmctld, slurmd, slurm-client,
slurm-wlm-basic-plugins and munge."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CONF = """ClusterName=reprise
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
TmpFS={folder}/tmp.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MailProg=/bin/true
KillWait=5
MinJobAge=600
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=5
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def why_not():
    """One line that says why there can be no cluster here; None when there can."""
    needed = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
    missing = [name for name in needed if not shutil.which(name)]
    if os.geteuid() != 0:
        return "needs root, to start Slurm's daemons"
    return f"Slurm is not installed: no {', '.join(missing)}" if missing else None


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(what, happens, seconds=60):
    ends = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > ends:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.1)


class OneMachineSlurm:
    """with OneMachineSlurm() as slurm: slurm.run("sbatch", ...)"""

    def __enter__(self):
        self.files = tempfile.TemporaryDirectory(prefix="reprise-slurm-", ignore_cleanup_errors=True)
        folder = self.folder = Path(self.files.name)
        folder.chmod(0o755)
        for name in ("munge", "state", "spool.n1", "spool.n2", "tmp.n1", "tmp.n2"):
            (folder / name).mkdir()
        (folder / "slurm.conf").write_text(CONF.format(host=socket.gethostname().split(".")[0], folder=folder,
                                                       ports=free_ports(3)))
        (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        (folder / "munge" / "key").write_bytes(os.urandom(1024))
        (folder / "munge" / "key").chmod(0o600)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.daemons = []
        # munged refuses a path that others can write to, such as that of a temporary folder, unless forced.
        self.start("munged", "--foreground", "--force", f"--key-file={folder}/munge/key",
                   f"--socket={folder}/munge/socket", f"--pid-file={folder}/munge/pid",
                   f"--seed-file={folder}/munge/seed")
        wait_until("munged", (folder / "munge" / "socket").exists)
        self.start("slurmctld", "-D", "-i")
        for node in ("n1", "n2"):
            self.start("slurmd", "-D", "-N", node)
        wait_until("idle nodes", lambda: self.run("sinfo", "-h", "-N", "-o", "%T", check=False).split() == ["idle"] * 2)
        return self

    def __exit__(self, *_):
        self.run("scancel", "--user=root", check=False)
        try:
            wait_until("the end of all jobs", lambda: not self.run("squeue", "-h", check=False), 30)
        finally:
            for daemon in reversed(self.daemons):
                daemon.terminate()
            for daemon in self.daemons:
                try:
                    daemon.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    daemon.kill()
            self.files.cleanup()

    def start(self, *command):
        """A daemon that does not outlive the test, however that ends."""
        with open(self.folder / f"{command[0]}.out", "a", encoding="utf-8") as out:
            self.daemons.append(subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], env=self.environment,
                                                 stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                                 start_new_session=True))

    def run(self, *command, check=True, environment=None, **options):
        result = subprocess.run(list(map(str, command)), env={**self.environment, **(environment or {})}, text=True,
                                capture_output=True, timeout=60, check=False, **options)
        if check and result.returncode != 0:
            raise RuntimeError(f"{command}: {result.returncode} {result.stderr}")
        return result.stdout.strip()

    def logs(self):
        """The daemons' last words."""
        return "\n".join(f"{path.name}:\n" + "\n".join(path.read_text().splitlines()[-40:])
                         for path in sorted(self.folder.glob("*.log")))

    def state(self, job):
        """Its state, why it waits, and how often it came back."""
        facts = self.run("scontrol", "show", "job", job)
        return tuple(re.search(rf"\b{name}=(\S+)", facts).group(1) for name in ("JobState", "Reason", "Restarts"))
