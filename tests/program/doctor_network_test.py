# ctest-labels: root network
"""`reprise doctor` over two hosts: what it says of 1 Gbit/s between them, of the interface, of a directory that only
one of them sees, and of a link that is broken."""

import json
import re
import sys
import unittest

from harness import CONFIGURATION, DONE, ENVIRONMENT, REPRISE, ProgramTest
from two_hosts import TwoHosts, why_not


class DoctorOfTwoHosts(ProgramTest):
    def examine(self, hosts, before=""):
        """Exit code, page and checks; `before`: what the shell of each rank does first."""
        script = self.folder / "start.sh"
        script.write_text(f"{before}\nexec {REPRISE} doctor --json --directory {self.folder}\n")
        done = hosts.mpirun(["sh", script], ENVIRONMENT, timeout=60)
        *page, document = done.stdout.strip().splitlines()
        return done.returncode, "\n".join(page), {check["name"]: check for check in json.loads(document)["checks"]}

    def test_one_gigabit(self):
        with TwoHosts("1gbit") as hosts:
            code, page, checks = self.examine(hosts)
        print(page, file=sys.stderr)
        self.assertEqual(code, DONE, page)
        self.assertRegex(page, r"(?m)^h1 +1 +\d.*\nh2 +1 +\d")
        self.assertEqual(checks["interface"]["found"], "h1: MPI eth0 (10.77.0.1); NCCL any")
        rate = float(re.search(r"\((.*) Gbit/s\)", checks["bandwidth"]["found"]).group(1))
        self.assertLess(rate, 2.1)  # the bucket lets 128 KiB through at once: half of the shorter message
        self.assertIn("rank 0 on h1 to rank 1 on h2", checks["bandwidth"]["found"])

    def test_broken_link_and_directory(self):
        hides = f"if [ $(hostname) = h2 ]; then mount -t tmpfs none {self.folder}; fi"
        with TwoHosts("5mbit") as hosts:
            code, page, checks = self.examine(hosts, before=hides)
        self.assertEqual(code, CONFIGURATION, page)
        red = {name for name, check in checks.items() if check["state"] == "FAIL"}
        self.assertEqual(red, {"bandwidth", "directory"}, page)
        self.assertEqual(checks["directory"]["found"], f"h2: {self.folder}: rank 0's files are not seen")


if __name__ == "__main__":
    reason = why_not()
    if reason:
        sys.exit(f"doctor_network_test cannot run here: {reason}")
    unittest.main()
