"""What the tests of metrics, dashboards and alerts share: a run of two ranks that serves its metrics, and the
expressions of docker/."""

import json
import re
import time
import urllib.request

from harness import SOURCE, RunningTest, mpirun_command

DASHBOARDS = sorted((SOURCE / "docker" / "grafana" / "dashboards").glob("*.json"))
RULES = SOURCE / "docker" / "prometheus" / "alerts.yml"
METRIC = re.compile(r"\b(?:reprise_|process_)\w+")


def scrape(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as reply:
        return reply.read().decode()


def series_of(page):
    """{series with its labels: value} of a page, less those of the server itself."""
    pairs = [line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith(("#", "exposer_"))]
    return {name: float(value) for name, value in pairs}


def dashboard_expressions(dashboard):
    """(where, expression) of every panel and annotation."""
    for panel in dashboard["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])
    yield from ((note["name"], note["expr"]) for note in dashboard["annotations"]["list"])


def all_expressions():
    for path in DASHBOARDS:
        yield from dashboard_expressions(json.loads(path.read_text()))
    yield RULES.name, re.sub(r"(?m)#.*|^ *(summary|description):.*", "", RULES.read_text())


class MonitoredTest(RunningTest):
    def start_monitored(self, *settings):
        """Starts a run of two ranks that evaluates, saves and replays; returns it and its targets by rank."""
        job = self.start(mpirun_command(
            2, "train", self.config, f"run.directory={self.run_folder}", "run.steps=1000000", "snapshot.every_steps=20",
            "monitoring.evaluate_every=20", "monitoring.prometheus.enabled=true", "checkpointing.policy=full",
            *settings))
        return job, self.targets()

    def targets(self):
        groups = json.loads((self.run_folder / "prometheus_sd.json").read_text())
        return {group["labels"]["rank"]: group["targets"][0] for group in groups}

    def wait_for(self, text, address):
        """The page of an address, once it holds a text."""
        deadline = time.monotonic() + 30
        while text not in (page := scrape(address)):
            self.assertLess(time.monotonic(), deadline, f"no {text} in {page}")
            time.sleep(0.1)
        return page
