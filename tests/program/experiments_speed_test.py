# ctest-labels: slow
# ctest-timeout: 300
"""The slowdown that the planner predicts, against the clock: wants the machine for itself."""

import json
import unittest

from harness import DONE, ProgramTest, reprise


class Slowdown(ProgramTest):
    def test_within_five_points_of_the_prediction(self):
        # A busy neighbour moves a step by more than what is judged here, so the best of three counts.
        misses = []
        for attempt in range(3):
            out = self.folder / str(attempt)
            result = reprise("bench", "speed", "--out", out, timeout=90)
            self.assertEqual(result.returncode, DONE, result.stderr)
            rows = json.loads((out / "result.json").read_text())["numbers"]["rows"]
            misses.append(max(abs(row["slowdown"] - row["slowdown_planned"]) for row in rows))
            if misses[-1] <= 0.05:
                return
        self.fail(f"slowdowns off the prediction by {misses}")


if __name__ == "__main__":
    unittest.main()
