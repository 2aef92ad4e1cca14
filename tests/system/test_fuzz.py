"""A share of ``make fuzz``: damaged inputs end in a word of one line, or in right values."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_no_damaged_input_ends_in_a_traceback_or_a_wrong_value() -> None:
    """In a process of its own, as each case is a fork of it."""
    tests = Path(__file__).parents[1]
    # A machine may be slow and busy: what hangs is counted by `make fuzz` alone.
    arguments = ["--cases", "100", "--seed", "1", "--hang", "120"]
    done = subprocess.run(
        [sys.executable, "-m", "helpers.fuzzing", *arguments],
        env={**os.environ, "PYTHONPATH": str(tests)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    counts = re.search(r"^all +(\d+) +(\d+) +0 +0 +0$", done.stdout, re.MULTILINE)
    assert counts is not None, done.stdout
    refused, accepted = map(int, counts.groups())
    assert refused + accepted >= 95
    assert refused > 30
