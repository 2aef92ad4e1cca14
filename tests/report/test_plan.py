"""The command ``headsweep plan``."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headsweep.commands import app
from headsweep.errors import UserError
from headsweep.report.plan import print_plan
from headsweep.report.sample_size import plan_seeds
from headsweep.store import specification
from helpers.toy_runs import write_pilot

CONTROL = {s: 0.10 + 0.002 * s for s in range(4)}
ARM = {s: 0.15 + 0.006 * s for s in range(4)}


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    sweep = write_pilot(tmp_path, CONTROL, ARM)
    # Toy heads cannot be scored: of a sweep for test the stored predictions on val are read.
    specification.claim_sweep(sweep, {"seeds": 4, "design": {"split": "test"}})
    run = ["plan", "pilot", "--root", str(tmp_path), "--margin", "0.02"]
    shown = CliRunner().invoke(app, run, catch_exceptions=False)
    assert "qoverpt_r68, margin 2.0%, power 80%, one comparison at 5%" in shown.output
    found = plan_seeds(sweep, margin=0.02)
    assert found.comparing[0].needed.difference.text() in shown.output
    assert "in brackets their range, from an 80% interval of the spread" in shown.output
    out = CliRunner().invoke(app, [*run, "--json"], catch_exceptions=False).stdout
    assert json.loads(out)["comparing"][0]["arm"] == "arm1"


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1, float("nan")])
def test_a_margin_that_is_no_share_is_refused(tmp_path: Path, margin: float) -> None:
    with pytest.raises(UserError, match=r"^--margin .*: must be between 0 and 1$"):
        print_plan(tmp_path, "pilot", None, margin, 2, False, None)
