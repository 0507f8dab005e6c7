"""Silent trouble as a cluster meets it: a bit flips in one process's memory, and the job ends with exit 86 and the name
of the rank; a gradient spike is skipped or stops the run, the same in a run that was stopped and goes on."""

import re
import unittest

from harness import DIVERGED, DONE, INTERNAL, ProgramTest, Run, RunningTest, mpirun_command, ranks_of, reprise, settings

FROZEN = {"optimizer": {"learning_rate": 1e-30}}  # no update changes a weight, so its bytes can be found


def flip_bit(pid, pattern):
    """Flips the lowest bit of byte 2 wherever the pattern lies in the process's memory; returns how many there were."""
    found = 0
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        for line in maps:
            begin, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            if rights != "rw-p":
                continue
            try:
                memory.seek(int(begin, 16))
                content = memory.read(int(end, 16) - int(begin, 16))
            except OSError:
                continue  # not readable, such as a guard
            for match in re.finditer(re.escape(pattern), content):
                memory.seek(int(begin, 16) + match.start() + 2)
                memory.write(bytes([pattern[2] ^ 1]))
                found += 1
    return found


class FlippedBitTest(RunningTest):
    def test_the_rank_is_named_and_the_job_ends(self):
        first = self.train(run={"steps": 1}, batch={"global_sequences": 6, "micro_sequences": 1}, **FROZEN)
        weights = (first.folder / "final" / "model.safetensors").read_bytes()
        pattern = weights[len(weights) - 32 * 32 * 4:][:64]  # of a matrix
        job = self.start(mpirun_command(3, "train", self.config, f"run.directory={self.run_folder}", *settings(
            {"run": {"steps": 1000000}, "batch": {"global_sequences": 6, "micro_sequences": 1},
             "distributed": {"compare_every": 10}, **FROZEN})))
        self.assertGreater(flip_bit(ranks_of(self.run_folder)[1], pattern), 0)
        _, errors = job.communicate(timeout=60)
        self.assertEqual(job.returncode, DIVERGED, errors)
        lines = [line for line in errors.splitlines() if line.startswith("reprise: ")]
        self.assertEqual(len(lines), 1, errors)
        self.assertRegex(lines[0], r"step \d+0: .*: rank 1 on \S+ \([0-9a-f]{16}\) differs from the other ranks")
        self.require_unfinished()


class SpikeTest(ProgramTest):
    """A limit so near the median that ordinary steps are spikes."""

    def go_on(self, folder, steps, on_spike="skip"):
        return reprise("train", self.config, f"run.directory={folder}", *settings(
            {"run": {"steps": steps}, "snapshot": {"every_steps": 5}, "monitoring": {"every_steps": 1},
             "optimizer": {"schedule": "constant", "learning_rate": 1e-2, "on_spike": on_spike, "spike_factor": 1.05,
                           "skip_limit": 50}}))

    def test_a_run_that_goes_on_skips_the_same_steps_and_says_which_samples(self):
        whole, parts = self.new_run_folder(), self.new_run_folder()
        result = self.go_on(whole, 60)
        self.assertEqual(result.returncode, DONE, result.stderr)
        for steps in (30, 60):
            self.assertEqual(self.go_on(parts, steps).returncode, DONE)
        expected, run = Run(whole), Run(parts)
        skipped = [step for step in expected.of("step") if step["skipped"]]
        self.assertGreater(len(skipped), 1)
        self.assertTrue(any(step["step"] > 30 for step in skipped))
        for step in skipped:
            last = 8 * step["step"] - 1
            self.assertEqual((step["skip_reason"], step["samples"]), ("spike", [last - 7, last]))
            self.assertIn(f"step {step['step']} is skipped: spike, gradient norm", result.stdout)
        self.assertIn(f"skipped updates: {len(skipped)} spike\n", result.stdout)
        kept = [(step["step"], step["loss"], step["grad_norm"], step["skipped"]) for step in expected.of("step")]
        self.assertEqual([(step["step"], step["loss"], step["grad_norm"], step["skipped"]) for step in run.of("step")],
                         kept)
        self.assertEqual(run.of("end")[-1]["weights_xxh3"], expected.weights)

    def test_stop_names_the_samples_and_the_key_that_goes_on(self):
        folder = self.new_run_folder()
        self.assert_fails(self.go_on(folder, 60, "stop"), INTERNAL, "over 1.05 times the median", "samples ",
                          "set optimizer.on_spike: skip")
        self.assertEqual(self.go_on(folder, 60).returncode, DONE)
        self.assertEqual([step["step"] for step in Run(folder).of("step")], list(range(1, 61)))


if __name__ == "__main__":
    unittest.main()
