"""Main figures of stored trainings, against scipy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headsweep.store.figures import figures_table, read_figures
from helpers.toy_runs import write_toy_job

R68 = "qoverpt_r68"


def test_means_and_intervals_over_the_seeds(tmp_path: Path) -> None:
    jobs = tmp_path / "sweeps/s/jobs"
    write_toy_job(jobs / "0", {0: 0.10, 1: 0.12, 2: 0.14}, labels={"head": "simpler"})
    write_toy_job(jobs / "1", {0: 0.2, 1: None}, labels={"head": "direct"}, seeds=4)
    first, second = read_figures(jobs.parent)
    _, high = stats.t.interval(0.95, 2, 0.12, stats.sem([0.10, 0.12, 0.14]))
    assert first.values[R68].mean == pytest.approx(0.12)
    assert first.values[R68].half == pytest.approx(high - 0.12)
    assert (first.label, first.parameters) == ("simpler", 65476)
    assert (second.finished, second.failed, second.planned) == (1, 1, 4)
    heads, rows = figures_table([first, second], width=160)
    assert heads[:5] == ["on val", "n", "failed", "parameters", "qoverpt_r68 ↓"]
    assert rows[0][:5] == ["simpler", "3", "0", "65,476", "0.120 ± 0.050"]
    assert rows[1][:5] == ["direct", "1 of 4", "1", "65,476", "0.2"]
    assert set(rows[0][5:]) == {"–"}  # the toys store r68 alone


def test_folds_are_one_configuration_with_the_interval_of_nadeau_and_bengio(tmp_path: Path) -> None:
    values = np.array([[0.10, 0.12], [0.11, 0.17]])
    for fold, (one, other) in enumerate(values):
        split: dict[str, Any] = {"folds": 2, "fold": fold}
        folder = tmp_path / f"sweeps/cv/jobs/{fold}"
        write_toy_job(folder, {0: one, 1: other}, split=split)
    [own] = read_figures(tmp_path / "sweeps/cv")
    blocks = values.mean(axis=1)
    half = stats.t.ppf(0.975, 1) * np.sqrt((1 / 2 + 1) * blocks.var(ddof=1))
    found = own.values[R68]
    assert (found.n, found.mean) == (2, pytest.approx(blocks.mean()))
    assert found.half == pytest.approx(half)


def test_a_narrow_screen_has_the_main_metric_alone(tmp_path: Path) -> None:
    write_toy_job(tmp_path / "runs/a", {0: 0.1})
    figures = read_figures(tmp_path / "runs/a")
    assert figures_table(figures, width=80)[0][4:] == ["qoverpt_r68 ↓"]
    assert len(figures_table(figures, width=120)[0]) == 7
