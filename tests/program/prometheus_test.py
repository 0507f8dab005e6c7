# ctest-labels: prometheus
"""A live Prometheus scrapes a run of two ranks as docker/prometheus says, and answers every expression of the
dashboards; promtool judges metrics, configuration, rules; the dashboards hold to the schema of compose.yaml's Grafana.

Needs the package prometheus (with promtool); makes a Python environment in the build folder for Grafana's schema."""

import json
import re
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from harness import BUILD, DONE, ENVIRONMENT, SOURCE, mpirun_command, run
from monitored import DASHBOARDS, MonitoredTest, dashboard_expressions, scrape

FOLDER = SOURCE / "docker" / "prometheus"
VARIABLES = {"$__rate_interval": "8s", "$run": "tiny|other", "$rank": ".*"}
WITHOUT_A_GPU = ("model_flops_utilization", 'kind="reserved"')  # nothing to answer on a CPU
WHEELS = ["grafana-foundation-sdk==1769699520!11.4.0", "pyyaml==6.0.2"]  # the schema of Grafana 11.4
# What a dashboard holds beside the schema: an annotation's fields that belong to the data source.
OF_PROMETHEUS = {"expr", "step", "titleFormat", "textFormat", "tagKeys", "useValueForTime"}
SCHEMA = """
import json, sys, yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from grafana_foundation_sdk.cog.plugins import register_default_plugins
register_default_plugins()
for path in sys.argv[1:]:
    with open(path) as file:
        if path.endswith(".json"):
            print(json.dumps(Dashboard.from_json(json.load(file)), cls=JSONEncoder))
        else:
            print(json.dumps(yaml.safe_load(file)))
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def lost(before, after, path=""):
    """Paths of a document at which another one lacks or changes something."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before:
            yield from lost(before[key], after.get(key), f"{path}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (one, other) in enumerate(zip(before, after)):
            yield from lost(one, other, f"{path}/{i}")
    elif before != after:
        yield path


class Judged(unittest.TestCase):
    def promtool(self, *arguments, **options):
        command = ["promtool", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout)


class Files(Judged):
    def test_rules(self):
        self.promtool("check", "config", FOLDER / "prometheus.yml")
        self.promtool("check", "rules", FOLDER / "alerts.yml")
        self.promtool("test", "rules", "alerts_test.yml", cwd=FOLDER)
        alerts = re.findall(r"alert: (\w+)", (FOLDER / "alerts.yml").read_text())
        tests = (FOLDER / "alerts_test.yml").read_text()
        docs = (SOURCE / "docs" / "metrics.md").read_text()
        for alert in alerts:
            self.assertRegex(tests, rf"alertname: {alert}\n *exp_alerts", f"{alert} is never seen to fire")
            self.assertRegex(tests, rf"alertname: {alert}\}}", f"{alert} is never seen silent")
            self.assertIn(f"`{alert}`", docs)

    def test_schema(self):
        python = BUILD / "grafana" / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", BUILD / "grafana"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *WHEELS], check=True)
        others = [SOURCE / "docker" / "compose.yaml", *sorted((SOURCE / "docker" / "grafana").glob("*/*/*.yaml"))]
        self.assertEqual(len(others), 3)
        read = subprocess.run([python, "-c", SCHEMA, *DASHBOARDS, *others], capture_output=True, text=True, check=False)
        self.assertEqual(read.returncode, 0, read.stderr)
        documents = [json.loads(line) for line in read.stdout.splitlines()]
        for path, parsed in zip(DASHBOARDS, documents):
            missing = [place for place in lost(json.loads(path.read_text()), parsed)
                       if not (place.startswith("/annotations/") and place.split("/")[-1] in OF_PROMETHEUS)]
            self.assertEqual(missing, [], f"{path.name}: unknown to Grafana's schema")
        for service in documents[len(DASHBOARDS)]["services"].values():
            for volume in service["volumes"]:
                source = volume.split(":")[0]
                if source.startswith("./"):
                    self.assertTrue((SOURCE / "docker" / source).exists(), source)


class Live(MonitoredTest, Judged):
    def start_prometheus(self):
        """By the files in docker/, but every second and with the folders of this test."""
        targets, place = self.folder / "targets", self.folder / "prometheus.yml"
        text = (FOLDER / "prometheus.yml").read_text().replace("/prometheus/targets", str(targets))
        place.write_text(re.sub(r"(interval: )\d+s", r"\g<1>1s", text))
        (self.folder / "alerts.yml").write_text((FOLDER / "alerts.yml").read_text())
        self.server = f"127.0.0.1:{free_port()}"
        for command in ([FOLDER / "discover.sh", self.folder, targets],
                        ["prometheus", f"--config.file={place}", f"--storage.tsdb.path={self.folder / 'data'}",
                         f"--web.listen-address={self.server}", "--log.level=warn"]):
            process = subprocess.Popen(command, env=ENVIRONMENT)
            self.addCleanup(process.wait)
            self.addCleanup(process.terminate)

    def ask(self, path, **parameters):
        parameters = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self.server}/api/v1/{path}?{parameters}") as reply:
            return json.load(reply)["data"]

    def query(self, expression):
        for name, text in VARIABLES.items():
            expression = expression.replace(name, text)
        try:
            return self.ask("query", query=expression)["result"]
        except urllib.error.HTTPError as error:
            self.fail(f"{expression}: {error.read().decode()}")

    def wait_until(self, expression):
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.query(expression):
                    return
            except OSError:
                pass  # the server has not started yet
            self.assertLess(time.monotonic(), deadline, f"still not: {expression}")
            time.sleep(0.3)

    def test_every_expression_is_answered(self):
        first = run(mpirun_command(2, "train", self.config, f"run.directory={self.run_folder}", "run.steps=1"))
        self.assertEqual(first.returncode, DONE, first.stderr)
        job, targets = self.start_monitored("run.overwrite=true")  # so that there is a restart to show
        self.start_prometheus()
        self.wait_until('sum(count_over_time(up{job="reprise"}[1m])) > 16')
        self.wait_until("reprise_snapshot_seconds")
        for path in DASHBOARDS:
            for where, expression in dashboard_expressions(json.loads(path.read_text())):
                answer = self.query(expression)
                if not any(word in expression for word in WITHOUT_A_GPU):
                    self.assertTrue(answer, f"{path.name}, {where}: {expression}")
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        self.assertEqual(len(rules), 10)
        for rule in rules:
            self.assertEqual((rule["health"], rule.get("lastError", "")), ("ok", ""), rule["name"])
        self.wait_until("reprise:busy:rate5m")
        self.assertEqual([alert["labels"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"], [])
        for address in targets.values():
            page = scrape(address)
            self.promtool("check", "metrics", input="".join(re.findall(r"(?m)^(?!(?:# \w+ )?exposer_).*\n", page)))
        labels = {(entry["metric"]["run"], entry["metric"]["rank"]) for entry in self.query("up")}
        self.assertEqual(labels, {("tiny", "0"), ("tiny", "1")})
        self.assertFalse(self.query('{exported_rank!=""}'), "run and rank of the series and of the target collide")
        self.end(job)
        (self.run_folder / "prometheus_sd.json").unlink()  # as a run does that ends well
        deadline = time.monotonic() + 20
        while list((self.folder / "targets").glob("*.json")):
            self.assertLess(time.monotonic(), deadline, "discover.sh keeps a run that is gone")
            time.sleep(0.2)


if __name__ == "__main__":
    unittest.main()
