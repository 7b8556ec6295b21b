"""A member of a group equals a run of its own to the bit, compiled as users have it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from research.ablation.program import chunk_of, parts_of

SCRIPT = Path(__file__).parents[2] / "scripts" / "prove" / "members.py"


def test_members_equal_runs_of_their_own() -> None:
    """On each of two devices one program goes through two members; all on one are no other kind of program.

    Those whose rows come from disk differ in the strength of an augmentation.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "RESEARCH_CACHE_DIR")}
    kinds, ways = ("streamed", "gan", "bandit"), ("map on 2 devices", "separate")
    command = [sys.executable, str(SCRIPT), "--only", *kinds, "--ways", *ways, "--updates", "5"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in kinds:
        lines = [line for line in done.stdout.splitlines() if line.startswith(f"| {kind}")]
        assert len(lines) == 2 and all(line.endswith("| 0 | 0 |") for line in lines)


def test_members_are_shared_out_evenly() -> None:
    assert parts_of(5, 2) == [range(2), range(2, 5)]
    assert parts_of(1, 2) == [range(1)]
    assert [len(part) for part in parts_of(64, 3)] == [21, 21, 22]


def test_sizes_of_8_to_16_that_divide_the_count_leave_no_smaller_chunk() -> None:
    assert [chunk_of(count) for count in (20, 24, 512, 16)] == [10, 12, 16, 16]
    assert chunk_of(3) == chunk_of(17) == 16  # all at once; one is left, by itself
