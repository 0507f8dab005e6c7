"""`reprise doctor`: one page for a machine or for a whole job, checks with what mends them, an exit code for scripts.
Nothing here depends on how fast the machine is: no figure is judged."""

import json
import re
import unittest

from harness import CONFIGURATION, DONE, REPRISE, USAGE, ProgramTest, mpirun_command, reprise, run

LOCAL_CHECKS = ["reprise", "libtorch", "mpi", "nccl", "threads", "device", "sharing", "driver", "libnccl", "cores",
                "memlock", "nofile", "shm", "directory", "space"]
CHECK = re.compile(r"^(ok  |warn|FAIL)  (\w+) +\S", re.MULTILINE)


class Doctor(ProgramTest):
    def test_page_of_this_machine(self):
        done = reprise("doctor", "--directory", self.folder / "runs")
        self.assertEqual(done.returncode, DONE, done.stdout + done.stderr)
        self.assertEqual([name for _, name in CHECK.findall(done.stdout)], LOCAL_CHECKS)
        self.assertLess(len(done.stdout.splitlines()), 60)
        self.assertNotIn("\x1b", done.stdout)
        self.assertIn(str(self.folder), done.stdout)  # where runs/ would be made
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"data", "tiny.yaml"})  # nothing stays behind

    def test_one_page_of_two_ranks(self):
        done = run(mpirun_command(2, "doctor", "--json", "--directory", self.folder))
        self.assertEqual(done.returncode, DONE, done.stdout + done.stderr)
        *page, document = done.stdout.strip().splitlines()
        page = "\n".join(page)
        self.assertEqual([name for _, name in CHECK.findall(page)], [*LOCAL_CHECKS, "bandwidth", "latency"])
        self.assertRegex(page, r"(?m)^host +ranks +cores +memory +free space +devices$")
        self.assertRegex(page, r"(?m)^\S+ +2 +\d+ +\S+ \wiB +\S+ \wiB +\S")
        facts = json.loads(document)
        self.assertLess({"reprise", "host", "mpi", "threads", "libtorch", "nccl", "devices", "gemm_flop_per_second"},
                        set(facts))
        self.assertEqual([rank["mpi"]["rank"] for rank in facts["ranks"]], [0, 1])
        self.assertEqual([set(check) for check in facts["checks"]], [{"name", "state", "found", "mend"}] * 17)
        for check in facts["checks"]:
            self.assertEqual(check["mend"] == "", check["state"] == "ok", check)
        link, = facts["ranks"][0]["links"]
        self.assertEqual((link["from"].split()[1], link["to"].split()[1]), ("0", "1"))
        self.assertGreater(link["bytes_per_second"], 0)
        self.assertGreater(link["seconds"], 0)

    def test_links_of_three_ranks_are_a_ring(self):
        done = run(mpirun_command(3, "doctor", "--json", "--directory", self.folder))
        ranks = json.loads(done.stdout.strip().splitlines()[-1])["ranks"]
        links = [(link["from"].split()[1], link["to"].split()[1]) for rank in ranks for link in rank["links"]]
        self.assertEqual(links, [("0", "1"), ("1", "2"), ("2", "0")])

    def require_red(self, done, words):
        self.assertEqual(done.returncode, CONFIGURATION, done.stdout + done.stderr)
        states = {name: state for state, name in CHECK.findall(done.stdout)}
        self.assertEqual(states["directory"], "FAIL", done.stdout)
        for word in words:
            self.assertIn(word, done.stdout)
        self.assertIn("→ run.directory=", done.stdout)

    def test_red_is_an_exit_code(self):
        (self.folder / "file").write_text("no directory")
        place = self.folder / "file" / "runs"
        self.require_red(reprise("doctor", "--directory", place), ["Not a directory"])
        self.require_red(run(mpirun_command(2, "doctor", "--directory", place)), ["Not a directory", "2 of 2 alike"])

    def test_colour_is_for_terminals(self):
        for setting, colours in (("", 1), ("NO_COLOR=1 ", 0)):
            shown = run(["script", "-qec", f"{setting}{REPRISE} doctor --directory {self.folder}", "/dev/null"]).stdout
            self.assertEqual(shown.count("\x1b[32mok  \x1b[0m") > 0, bool(colours), shown)
            self.assertIn("ok  ", shown)

    def test_usage(self):
        self.assert_fails(reprise("doctor", "--nothing"), USAGE, "--nothing")


if __name__ == "__main__":
    unittest.main()
