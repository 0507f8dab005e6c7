"""Silent trouble as a cluster meets it: a bit flips in one process's memory, and the job ends with exit 86 and the name
of the rank."""

import re
import unittest

from harness import DIVERGED, RunningTest, mpirun_command, ranks_of, settings

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


if __name__ == "__main__":
    unittest.main()
