"""The command ``headsweep why``, on a search that was trained small."""

from pathlib import Path

import pytest

from helpers.command import SMALL, Command

pytestmark = pytest.mark.slow

RANGES = ["head.regression_num_layers=choice(2)", "head.dropout=choice(0.3)"]


@pytest.mark.usefixtures("working_here")
def test_each_step_is_compared_with_the_one_before(command: Command, tmp_path: Path) -> None:
    search = ["train", "-m", *SMALL, *RANGES, "hydra.sweeper.n_trials=1", "name=s"]
    assert command(*search)[0] == 0
    code, out, err = command("why", "s", "seeds=2", "tracking=false", "--root", "runs")
    assert code == 0, err
    table = out[out.index("Verdicts") :]
    first, second = "+ num_layers=2", "+ dropout=0.3 (trial 0)"
    assert [first in table, second in table, "conservative" in table] == [True] * 3
    assert (tmp_path / "runs/sweeps/s-why/report/report.html").is_file()
    code, out, _ = command("why", "s", "seeds=2", "tracking=false")
    assert code == 0
    assert "6 of 6 members are done, 6 of them were there before" in out


def test_a_search_that_is_not_there_is_named(command: Command) -> None:
    code, _, err = command("why", "nothing")
    assert code == 2
    assert "study=nothing: there is no such sweep" in err
