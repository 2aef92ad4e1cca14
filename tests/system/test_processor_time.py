"""The figure that ``make test`` prints: no process may be missing in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "helpers/processor_time.py"
BURN = "import time\nwhile time.process_time() < 1.5: pass"
CASES = {
    "itself": BURN,
    "its child": f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])",
    # Its parent ends at once, and a sibling tells when it has ended itself.
    "an orphan": f"""
import os, subprocess, sys
end, own = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        exec({BURN!r})
    os._exit(0)
os.close(own)
os.wait()
os.read(end, 1)
""",
}


@pytest.mark.parametrize("burner", CASES)
def test_every_process_counts(burner: str) -> None:
    command = [sys.executable, SCRIPT, sys.executable, "-c", CASES[burner]]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"([\d.]+) processor minutes in ([\d.]+) minutes", run.stdout)
    assert found is not None
    assert 0.02 <= float(found[1]) <= 0.2  # 1.5 s, and the start of two interpreters


@pytest.mark.parametrize(("statement", "code"), [("pass", 0), ("raise SystemExit(3)", 3)])
def test_the_exit_code_is_that_of_the_command(statement: str, code: int) -> None:
    command = [sys.executable, SCRIPT, sys.executable, "-c", statement]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == code
