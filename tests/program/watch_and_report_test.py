"""`reprise watch` and `reprise report` of real runs: two ranks, resumed, under way in a terminal; and the figures of
ranks in every step."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
import unittest
import xml.etree.ElementTree

from harness import DATA, DONE, ENVIRONMENT, REPRISE, USAGE, ProgramTest, reprise

UTF8 = {"LC_ALL": "C.UTF-8"}


class WatchAndReport(ProgramTest):
    def page_of(self, folder, *options, **environment):
        result = subprocess.run([REPRISE, "watch", folder, *options], env={**ENVIRONMENT, **environment},
                                capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((result.returncode, result.stderr), (DONE, ""))
        return result.stdout

    def test_every_step_compares_the_ranks(self):
        for ranks in (1, 2, 4):
            run = self.train(ranks, run={"steps": 3}, batch={"global_sequences": 8, "micro_sequences": 1})
            for step in run.of("step"):
                own = {"step": step["step_seconds"], "data": step["data_seconds"], "wait": step["comm_exposed_seconds"],
                       "compute": sum(step[f"{part}_seconds"]
                                      for part in ("forward", "recompute", "backward", "optimizer"))}
                self.assertEqual(sorted(step["ranks"]), sorted(f"{name}_seconds" for name in own))
                for name, seconds in own.items():  # of rank 0
                    spread = step["ranks"][f"{name}_seconds"]
                    self.assertTrue(0 <= spread["min"] <= spread["median"] <= spread["max"], spread)
                    self.assertIn(spread["max_rank"], range(ranks))
                    self.assertTrue(spread["min"] - 1e-9 <= seconds <= spread["max"] + 1e-9, (name, seconds, spread))
                    if spread["max_rank"] == 0 or ranks == 1:
                        self.assertAlmostEqual(seconds, spread["max"], places=9)
                    elif ranks == 2:
                        self.assertAlmostEqual(seconds, spread["min"], places=9)
                        self.assertEqual(spread["median"], spread["min"])

    def test_a_finished_run(self):
        run = self.train(2, run={"steps": 30}, snapshot={"every_steps": 10},
                         checkpointing={"policy": "budget", "budget": "3MiB"}, monitoring={"evaluate_every": 10})
        page = self.page_of(run.folder, **UTF8)
        self.assertNotIn("\x1b", page)
        for words in ("ended after", "step 30 of 30", "█", "budget 3.0 MiB", "3 saved, 0 dropped", "rank compute",
                      run.weights):
            self.assertIn(words, page)
        plain = self.page_of(run.folder, "--ascii", **UTF8)
        self.assertTrue(plain.isascii(), plain)
        self.assertTrue(self.page_of(run.folder, LC_ALL="C").isascii())
        self.check_report(run)

    def check_report(self, run):
        html = self.folder / "report.html"
        result = reprise("report", run.folder, "-o", html)
        self.assertEqual(result.returncode, DONE, result.stderr)
        page = html.read_text()
        figures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
        titles = [xml.etree.ElementTree.fromstring(svg).find("{*}title").text for svg in figures]
        self.assertEqual(len(titles), 5, titles)
        for words, title in zip(("Loss of", "step's time", "Memory", "fastest step", "One step under plan budget"),
                                titles):
            self.assertIn(words, title)
        for words in ("this run, planned", "this run, measured", run.weights, "budget 3.0 MiB"):
            self.assertIn(words, page)
        names = re.findall(r'id="([^"]+)"', page)
        self.assertEqual(len(names), len(set(names)), "figures share names")
        self.assertEqual(set(re.findall(r"url\(#([^)]+)\)", page)) - set(names), set())
        self.assertIsNone(re.search(r'(src|href)="', page), "needs another file")

    def test_a_report_without_costs_says_so(self):
        run = self.train(run={"steps": 2})
        (run.folder / "costs.json").unlink()
        html = self.folder / "report.html"
        self.assertEqual(reprise("report", run.folder, "-o", html).returncode, DONE)
        self.assertIn("No frontier and no timeline", html.read_text())

    def test_a_resumed_run(self):
        folder = self.new_run_folder()
        for steps in (10, 20):
            result = reprise("train", self.config, f"run.directory={folder}", f"run.steps={steps}",
                             "snapshot.every_steps=5", "optimizer.schedule=constant")
            self.assertEqual(result.returncode, DONE, result.stderr)
        page = self.page_of(folder)
        self.assertIn("step 20 of 20", page)
        self.assertRegex(page, r"restarts +1, the last after step 10\n")

    def test_a_killed_run_is_gone(self):
        folder = self.new_run_folder()
        run = subprocess.Popen([REPRISE, "train", self.config, f"run.directory={folder}", "run.steps=100000"],
                               env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        self.addCleanup(run.wait)
        self.addCleanup(run.kill)
        deadline = time.monotonic() + 60
        while "last news" not in reprise("watch", folder, "--once").stdout:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.assertRegex(self.page_of(folder), r": last news \S+ m?s ago\n")
        run.kill()
        run.wait()
        self.assertRegex(self.page_of(folder), rf"process {run.pid} on \S+ is gone, last news ")

    def test_a_growing_run_in_a_terminal(self):
        run = self.train(run={"steps": 10})
        whole = (run.folder / "metrics.jsonl").read_bytes()
        lines = whole.splitlines(keepends=True)
        (run.folder / "metrics.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:50])
        master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 60, 0, 0))
        watch = subprocess.Popen([REPRISE, "watch", run.folder], stdin=subprocess.DEVNULL, stdout=terminal,
                                 env={**ENVIRONMENT, **UTF8, "NO_COLOR": "1"})
        self.addCleanup(watch.kill)
        os.close(terminal)
        text = self.read_until(master, "step 3 of 10")
        self.assertIn("not running, last news", text)  # which wrote so in its lock
        (run.folder / "lock").unlink()
        self.assertRegex(self.page_of(run.folder), r": last news \S+ m?s ago\n")  # nobody says that it does not
        (run.folder / "metrics.jsonl").unlink()  # as a run that begins anew does
        with self.assertRaises(subprocess.TimeoutExpired):
            watch.wait(timeout=1.2)
        (run.folder / "metrics.jsonl").write_bytes(whole)
        text += self.read_until(master, run.weights)
        self.assertEqual(watch.wait(timeout=10), DONE)
        self.assertNotIn("\x1b[1m", text)
        for line in re.sub(r"\x1b\[[0-9]*[A-Z]", "", text).splitlines():
            self.assertLess(len(line), 60, line)

    def read_until(self, master, words):
        text, started = b"", time.monotonic()
        while words.encode() not in text:
            self.assertLess(time.monotonic() - started, 30, text)
            text += os.read(master, 65536)
        return text.decode(errors="replace")  # may end inside a character

    def test_what_is_no_run(self):
        self.assert_fails(reprise("watch", self.folder), DATA, "expected the directory of a run, with metrics.jsonl")
        self.assert_fails(reprise("report", self.folder / "none"), DATA, "metrics.jsonl")
        self.assertEqual(reprise("watch").returncode, USAGE)
        run = self.train(run={"steps": 2})
        with open(run.folder / "metrics.jsonl", "a") as metrics:
            metrics.write("nonsense\n")
        for command in ("watch", "report"):
            self.assert_fails(reprise(command, run.folder), DATA, "metrics.jsonl:", "nonsense")


if __name__ == "__main__":
    unittest.main()
