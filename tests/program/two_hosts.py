"""Two "hosts" on one machine: network namespaces h1 and h2 joined by one limited link, for tests of a slow network.
Needs root.

Each host has its own network, host name, /dev/shm and /etc/hosts, so Open MPI takes it for a machine of its own, and
half of the cores, so that neither computes on the other's. They reach each other and nothing else, by TCP with cubic,
Linux's default, whatever this machine is set to. `python3 two_hosts.py exec FOLDER HOST 'COMMAND'` runs a shell command
inside a host; mpirun on h1 uses it to start its daemon on h2.
"""

import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

SUBNET = "10.77.0"


def quiet(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def enter(folder, host):
    """The command prefix that enters a host: its network, and name, /dev/shm, /etc/hosts and /sys of its own."""
    setup = ('hostname "$2" && mount -t tmpfs -o size=1g tmpfs /dev/shm && mount --bind "$1/hosts" /etc/hosts && '
             'mount -t sysfs sysfs /sys && shift 2 && exec "$@"')
    network, cores = Path(folder, host).read_text().split()
    return ["taskset", "-c", cores, "nsenter", f"--net=/run/netns/{network}", "unshare", "--uts", "--mount",
            "sh", "-c", setup, "sh", str(folder), host]


def why_not():
    """One line that says why hosts cannot be made here; None when they can."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    for command in (["ip", "-V"], ["tc", "-V"], ["unshare", "--net", "--uts", "--mount", "true"]):
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"cannot run `{' '.join(command)}`: {error}"
    return None


class TwoHosts:
    """with TwoHosts("1gbit") as hosts: hosts.mpirun([...])"""

    def __init__(self, rate):
        self.rate = rate
        self.names = {host: f"reprise-{uuid.uuid4().hex[:8]}-{host}" for host in ("h1", "h2")}

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="reprise-hosts-")
        folder = Path(self.folder.name)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{SUBNET}.1 h1\n{SUBNET}.2 h2\n")
        cores = sorted(os.sched_getaffinity(0))
        for number, (host, network) in enumerate(self.names.items()):
            own = cores[number::2] or cores
            (folder / host).write_text(f"{network} {','.join(map(str, own))}")
            quiet("ip", "netns", "add", network)
        first, second = self.names.values()
        quiet("ip", "link", "add", "eth0", "netns", first, "type", "veth", "peer", "name", "eth0", "netns", second)
        for number, network in enumerate(self.names.values(), 1):
            quiet("ip", "-n", network, "link", "set", "lo", "up")
            quiet("ip", "-n", network, "addr", "add", f"{SUBNET}.{number}/24", "dev", "eth0")
            quiet("ip", "-n", network, "link", "set", "eth0", "up")
            quiet("ip", "-n", network, "route", "replace", f"{SUBNET}.0/24", "dev", "eth0", "congctl", "cubic")
            quiet("tc", "-n", network, "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", self.rate,
                  "burst", "128kb", "latency", "20ms")
        return self

    def __exit__(self, *_):
        for network in self.names.values():
            subprocess.run(["ip", "netns", "del", network], check=False)
        self.folder.cleanup()

    def cut(self):
        """Takes the link down; heal() brings it back."""
        quiet("ip", "-n", self.names["h2"], "link", "set", "eth0", "down")

    def heal(self):
        quiet("ip", "-n", self.names["h2"], "link", "set", "eth0", "up")

    def lose_one_way(self):
        """What h2 sends to h1 gets lost from now on, by a wrong hardware address; what h1 sends arrives."""
        quiet("ip", "-n", self.names["h2"], "neigh", "replace", f"{SUBNET}.1", "lladdr", "02:00:00:00:00:01", "dev",
              "eth0", "nud", "permanent")

    def mpirun(self, command, environment, timeout):
        """Runs one rank of the command on each host."""
        return subprocess.run(self.mpirun_command(command), env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=timeout)

    def mpirun_command(self, command):
        agent = f"{sys.executable} {Path(__file__).resolve()} exec {self.folder.name}"
        parameters = {"plm": "rsh", "plm_rsh_agent": agent, "plm_rsh_no_tree_spawn": "1", "oob_tcp_if_include": "eth0",
                      "btl": "tcp,self", "btl_tcp_if_include": "eth0", "oob_tcp_keepalive_time": "5",
                      "oob_tcp_keepalive_intvl": "2", "oob_tcp_keepalive_probes": "3"}
        mpirun = ["mpirun", "-np", "2", "--host", "h1:1,h2:1", "--map-by", "node", "--bind-to", "none",
                  "-x", "OMP_NUM_THREADS", "-x", "REPRISE_ALLOW_ROOT",
                  *(word for name, value in parameters.items() for word in ("--mca", name, value))]
        return [*enter(self.folder.name, "h1"), *mpirun, *map(str, command)]


if __name__ == "__main__":
    _, _, hosts_folder, target, *words = sys.argv
    inside = [*enter(hosts_folder, target), "sh", "-c", " ".join(words)]
    os.execvp(inside[0], inside)
