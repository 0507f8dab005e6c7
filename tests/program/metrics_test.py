"""What a run of two ranks serves at /metrics, where it says so, and that the docs, the dashboards and the alerts speak
of nothing else. No Prometheus needed; prometheus_test.py has one."""

import json
import random
import re
import signal
import socket
import threading
import time
import unittest

from harness import DONE, SOURCE, ProgramTest, mpirun_command, run
from monitored import DASHBOARDS, METRIC, MonitoredTest, all_expressions, scrape, series_of

DOCS = (SOURCE / "docs" / "metrics.md").read_text()
NEEDS_A_GPU = {"reprise_model_flops_utilization_ratio"}
HISTOGRAM = re.compile("_(bucket|count|sum)$")


def listed():
    """{metric: (type, label names)} of the docs' table, which metric_table_test.cpp holds to the program's."""
    rows = [line.split(" | ") for line in DOCS.splitlines() if re.match(r"\| `\w+` \| (counter|gauge|histogram)", line)]
    return {row[0].strip("| `"): (row[1], [name for name in re.split(", ", row[3]) if name]) for row in rows}


class Metrics(MonitoredTest):
    def test_every_listed_metric_is_served_and_no_other(self):
        job, targets = self.start_monitored()
        self.assertEqual(sorted(targets), ["0", "1"])
        for rank, address in targets.items():
            self.wait_for("reprise_snapshot_seconds{", address)
            page = self.wait_for("reprise_validation_loss{", address)
            served = {}
            for series in series_of(page):
                name, labels = re.fullmatch(r"(\w+)\{(.*)\}", series).groups()
                names = re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', labels)
                if name.startswith("reprise_step_duration_"):
                    name = HISTOGRAM.sub("", name)
                self.assertIn(f'rank="{rank}"', labels)
                self.assertIn('run="tiny"', labels)
                served[name] = sorted(set(names) - {"run", "rank", "le"})
            expected = {name: sorted(labels) for name, (_, labels) in listed().items() if name not in NEEDS_A_GPU}
            self.assertEqual(served, expected)
            types = dict(re.findall(r"(?m)^# TYPE (\w+) (\w+)$", page))
            self.assertEqual({name: types[name] for name in served}, {name: listed()[name][0] for name in served})
            self.require_sense(series_of(page), rank)
        self.assertIsNone(job.poll())

    def require_sense(self, series, rank):
        def value(name, **labels):
            wanted = [f'{key}="{text}"' for key, text in labels.items()]
            found = [figure for key, figure in series.items()
                     if key.startswith(f"reprise_{name}{{") and all(text in key for text in wanted)]
            self.assertEqual(len(found), 1, (name, labels))
            return found[0]

        def kind(name):
            return value("memory_bytes", kind=name)

        self.assertEqual(kind("optimizer"), 2 * kind("parameters"), "two moments")
        self.assertEqual(kind("gradients"), kind("parameters"))
        self.assertEqual(kind("activations"), kind("peak") - kind("allocated"))
        self.assertGreaterEqual(kind("allocated"), 4 * kind("parameters"))
        self.assertGreater(kind("peak"), kind("allocated"))
        self.assertGreater(value("memory_budget_bytes"), kind("peak"))
        self.assertFalse([key for key in series if 'kind="reserved"' in key], "a CPU reserves nothing")
        self.assertEqual(value("restarts_total"), 0)
        steps = value("steps_total")
        self.assertEqual(value("allreduce_bytes_total"), steps * kind("gradients"))
        self.assertEqual(value("tokens_total"), steps * 8 * 32)
        phases = sum(v for key, v in series.items() if key.startswith("reprise_phase_") and '"snapshot"' not in key)
        self.assertAlmostEqual(phases, value("step_duration_seconds_sum"), delta=1e-6 * steps)
        self.assertTrue(0 < value("recompute_ratio") < 1 and 0 <= value("overlap_ratio") <= 1)
        self.assertLess(abs(time.time() - value("last_step_timestamp_seconds")), 60)
        self.assertEqual(value("rank_info", host=socket.gethostname(), local_rank=rank, device="cpu", uuid=""), 1)

    def test_hostile_clients(self):
        """Slow ones, garbage and very many connections: training goes on, and so do answers to others."""
        job, targets = self.start_monitored("snapshot.every_steps=0")
        host, port = targets["1"].rsplit(":", 1)
        ended = threading.Event()

        def besiege(payload):
            while not ended.is_set():
                connections = []
                try:
                    for _ in range(100):
                        connections.append(socket.create_connection((host, int(port)), timeout=5))
                        connections[-1].sendall(payload)
                except OSError:
                    pass  # refused or closed by the server, who may
                ended.wait(0.2)
                for connection in connections:
                    connection.close()

        payloads = [b"", b"GET /metr", b"\x16\x03\x01\xff" * 4096,
                    b"GET /metrics HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 5000]
        attackers = [threading.Thread(target=besiege, args=(payload,)) for payload in payloads]
        for attacker in attackers:
            attacker.start()
        try:
            self.wait_for_steps(job, self.steps() + 100)
        finally:
            ended.set()
            for attacker in attackers:
                attacker.join()
        self.assertIn("reprise_steps_total", scrape(targets["1"]))
        self.assertIsNone(job.poll())


class Targets(ProgramTest):
    def train_with(self, *settings):
        folder = self.new_run_folder()
        folder.mkdir()
        (folder / "prometheus_sd.json").write_text("[]")  # left by one that was killed
        result = run(mpirun_command(2, "train", self.config, f"run.directory={folder}", "run.steps=3", *settings))
        return folder / "prometheus_sd.json", result

    def test_gone_when_the_run_has_ended(self):
        for enabled in ("true", "false"):
            targets, result = self.train_with(f"monitoring.prometheus.enabled={enabled}")
            self.assertEqual(result.returncode, DONE, result.stderr)
            self.assertFalse(targets.exists(), enabled)

    def test_gone_when_the_run_has_failed(self):
        targets, result = self.train_with("monitoring.prometheus.enabled=true", "optimizer.learning_rate=1e30",
                                          "optimizer.warmup_steps=0", "run.steps=50")
        self.assertNotEqual(result.returncode, DONE)
        self.assertFalse(targets.exists())


def two_free_ports():
    """The first of two in a row, outside the range from which the kernel takes those that nobody asked for."""
    for port in random.sample(range(20000, 30000), 100):
        try:
            with socket.create_server(("", port)), socket.create_server(("", port + 1)):
                return port
        except OSError:
            continue
    raise AssertionError("no two free ports")


class Restarts(MonitoredTest):
    def test_a_restart_is_counted_and_other_hosts_are_named(self):
        port = two_free_ports()
        job, _ = self.start_monitored()
        self.wait_for_steps(job, 50)
        job.send_signal(signal.SIGKILL)
        self.end(job)
        (self.run_folder / "metrics.jsonl").unlink()  # so that start() waits for the new run's steps
        again = self.start(mpirun_command(
            2, "train", self.config, f"run.directory={self.run_folder}", "run.steps=1000000", "run.overwrite=true",
            "monitoring.prometheus.enabled=true", f"monitoring.prometheus.listen=0.0.0.0:{port}"))
        host = socket.gethostname()
        self.assertEqual(self.targets(), {"0": f"{host}:{port}", "1": f"{host}:{port + 1}"})
        for rank in ("0", "1"):
            page = scrape(f"127.0.0.1:{port + int(rank)}")
            self.assertIn(f'reprise_restarts_total{{rank="{rank}",run="tiny"}} 1', page)
        self.assertIsNone(again.poll())


class Documents(unittest.TestCase):
    def test_dashboards_and_alerts_name_metrics_that_exist(self):
        known, used = set(listed()), set()
        for where, expression in all_expressions():
            used |= (names := {HISTOGRAM.sub("", name) if "step_duration" in name else name
                               for name in METRIC.findall(expression)})
            self.assertLessEqual(names, known, where)
            for label, values in re.findall(r'\b(phase|kind|reason|result)[!=]~?"([^"]*)"', expression):
                for value in values.split("|"):
                    self.assertRegex(DOCS, rf"\b{value}\b", f"{where}: {label}")
        self.assertEqual(known - used, set(), "metrics that no panel and no alert shows")

    def test_dashboards_are_whole(self):
        self.assertEqual([path.stem for path in DASHBOARDS], ["memory_and_time", "training"])
        for path in DASHBOARDS:
            dashboard = json.loads(path.read_text())
            names = [variable["name"] for variable in dashboard["templating"]["list"]]
            self.assertEqual(names, ["datasource", "run", "rank"])
            panels = dashboard["panels"]
            self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
            taken = set()
            for panel in panels:
                with self.subTest(f"{path.stem}: {panel['title']}"):
                    self.assertRegex(panel["description"], r"^[A-Z][^.]*\.$", "one sentence")
                    self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                    for target in panel["targets"]:
                        self.assertEqual(target["datasource"]["uid"], "${datasource}")
                        self.assertIn("$run", target["expr"])
                    place = panel["gridPos"]
                    cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
                    self.assertFalse(cells & taken, "lies on another")
                    self.assertLessEqual(place["x"] + place["w"], 24)
                    taken |= cells


if __name__ == "__main__":
    unittest.main()
