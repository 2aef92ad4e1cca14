"""Looks at a sweep: what counts as one, and what an extended sweep may still say."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import headsweep
from headsweep.config import DesignConfig
from headsweep.report import build as report_build
from headsweep.report.build import build_report
from headsweep.report.comparisons import Effect
from headsweep.report.content import Report
from headsweep.report.looks import SweepLooks
from headsweep.stats.margins import Comparison
from headsweep.stats.power import ALPHA
from headsweep.stats.sequential import Looks, nominal_levels
from headsweep.stats.verdict import compare
from headsweep.store import labels, looks
from helpers.toy_runs import toy_score, write_cache, write_toy_job

FOLDER = Path("sweeps", "s")


def train(root: Path, seeds: int, planned: int | None = None, arms: int = 2) -> None:
    """Train some heads of the sweep ``s``, whose r68 differ by 20% and scatter by 15%."""
    for number in range(arms):
        width = 0.10 + 0.02 * number
        widths = {s: width * (1 + 0.02 * ((7 * s + 3 * number) % 15 - 7)) for s in range(seeds)}
        write_toy_job(
            root / FOLDER / "jobs" / str(number),
            widths,
            labels={"head": f"h{number}"},
            overrides=[f"head=h{number}"],
            seeds=planned or seeds,
        )


def read(root: Path, verdict: bool = True, split: str = "dev") -> SweepLooks:
    """What a report does: open the looks, and record this one if it has a verdict."""
    groups = labels.group_rows(labels.read_jobs(root / FOLDER))
    found = SweepLooks.open(root / FOLDER, groups, DesignConfig(split=split))
    n = 3 if verdict else 1
    shown = compare(1 + np.arange(n), 2 + np.arange(n), Comparison(0.05))
    assert found.record([Effect("h1", "h0", "qoverpt_r68", 0, shown)]) == []
    return found


def level(root: Path, arm: str = "h1") -> float:
    """Level of the verdict on an arm in the next report."""
    found = read(root).at([arm, "h0"])
    assert found is not None
    return found.alpha


@pytest.mark.slow
def test_a_sweep_that_is_extended_after_a_report_uses_the_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the Python interface, as every way to a verdict goes through ``build_report``."""
    monkeypatch.setattr(
        report_build, "build_report", lambda folder, root: build_report(folder, root, toy_score)
    )
    write_cache(tmp_path, "cache")
    train(tmp_path, 5)
    (first,) = headsweep.open_sweep("s", root=tmp_path).verdicts().to_dict("records")
    assert (first["sim_low"], first["sim_high"]) == (first["low"], first["high"])
    train(tmp_path, 10)
    sweep = headsweep.open_sweep("s", root=tmp_path)
    (second,) = sweep.verdicts().to_dict("records")
    assert second["sim_high"] - second["sim_low"] > 1.3 * (second["high"] - second["low"])
    verdict = sweep.report.effects[0].verdict
    assert verdict is not None
    assert verdict.comparison.alpha == pytest.approx(nominal_levels([5 / 60, 10 / 60])[1])
    assert f"at level {verdict.comparison.alpha:.2%} of look 2" in verdict.text()
    assert len(looks.read(tmp_path / FOLDER)) == 2


def test_a_report_whose_verdict_is_withheld_is_no_look(built: Report, root: Path) -> None:
    """One seed of the arm failed, and what it would have given decides."""
    assert [effect.verdict for effect in built.effects] == [None]
    assert looks.read(root / "sweeps" / "presets") == []


def test_a_failed_seed_is_seen(tmp_path: Path) -> None:
    train(tmp_path, 5)
    job = tmp_path / FOLDER / "jobs" / "1"
    shutil.rmtree(job)
    widths = {0: 0.1, 1: 0.12, 2: 0.11, 3: None, 4: 0.13}
    write_toy_job(job, widths, labels={"head": "h1"}, overrides=["head=h1"], seeds=5)
    assert level(tmp_path) == ALPHA
    train(tmp_path, 5)  # the same seeds, none of which fails
    assert level(tmp_path) == ALPHA


def test_the_same_members_are_no_new_look(tmp_path: Path) -> None:
    train(tmp_path, 5)
    assert [level(tmp_path), level(tmp_path)] == [ALPHA, ALPHA]
    train(tmp_path, 10)
    assert level(tmp_path) == level(tmp_path) == Looks((5, 10), 5).alpha
    assert [list(look.arms) for look in looks.read(tmp_path / FOLDER)] == [["0", "1"]] * 2


def test_looks_while_a_sweep_is_trained_share_the_error(tmp_path: Path) -> None:
    train(tmp_path, 4, planned=10)
    assert level(tmp_path) == pytest.approx(nominal_levels([0.4])[0])
    train(tmp_path, 10)
    assert level(tmp_path) == pytest.approx(nominal_levels([0.4, 1.0])[1])


def test_seeds_asked_for_before_the_first_look_are_planned(tmp_path: Path) -> None:
    train(tmp_path, 5)
    train(tmp_path, 10)
    assert level(tmp_path) == ALPHA


def test_a_report_without_verdicts_is_no_look(tmp_path: Path) -> None:
    train(tmp_path, 3, planned=5)
    read(tmp_path, verdict=False)
    assert looks.read(tmp_path / FOLDER) == []
    train(tmp_path, 5)
    assert level(tmp_path) == ALPHA
    train(tmp_path, 1)
    assert looks.read(tmp_path / FOLDER)[0].arms.keys() == {"0", "1"}


@pytest.mark.parametrize("seeds", [1, 3])
def test_on_test_every_reading_is_a_look(tmp_path: Path, seeds: int) -> None:
    """Also one without a verdict, such as that of a single seed: more are trained in view of it."""
    train(tmp_path, seeds)
    for _ in range(2):
        found = read(tmp_path, verdict=False, split="test")
    assert (found.at(["h1", "h0"]) is None) == (seeds == 1)
    train(tmp_path, 10)
    grown = read(tmp_path, split="test").at(["h1", "h0"])
    assert grown is not None
    assert grown.sizes == (seeds, 10)
    assert grown.alpha == pytest.approx(nominal_levels(found_levels(seeds))[-1])


def found_levels(seeds: int) -> list[float]:
    """Information at the looks of a sweep of some seeds, then 10, of the 60 that one may have."""
    between = [seeds + 5] if seeds + 7.5 <= 10 else []
    return [n / 60 for n in (seeds, *between, 10)]


def test_one_seed_is_no_look_at_that_arm(tmp_path: Path) -> None:
    train(tmp_path, 5)
    shutil.rmtree(tmp_path / FOLDER / "jobs" / "1")
    write_toy_job(
        tmp_path / FOLDER / "jobs" / "1",
        {0: 0.1},
        labels={"head": "h1"},
        overrides=["head=h1"],
        seeds=5,
    )
    found = read(tmp_path)
    assert found.at(["h1", "h0"]) is None
    assert [*found.present.arms] == ["0"]
    train(tmp_path, 5)
    assert level(tmp_path) == ALPHA


def test_a_new_arm_is_new_and_the_others_are_not(tmp_path: Path) -> None:
    train(tmp_path, 5)
    read(tmp_path)
    train(tmp_path, 5, arms=3)
    assert [level(tmp_path, arm) for arm in ("h1", "h2")] == [ALPHA, ALPHA]
    train(tmp_path, 8, arms=3)
    assert [level(tmp_path, arm) for arm in ("h1", "h2")] == [Looks((5, 8), 5).alpha] * 2
    everything = read(tmp_path).at(["h0", "h1", "h2"])
    assert everything is not None
    assert everything.sizes == (5, 8)


def test_unequal_arms_count_by_their_information(tmp_path: Path) -> None:
    train(tmp_path, 5)
    read(tmp_path)
    train(tmp_path, 20, arms=1)
    found = read(tmp_path).at(["h1", "h0"])
    assert found is not None
    assert found.sizes == (5, pytest.approx(2 / (1 / 5 + 1 / 20)))


def test_folds_count_as_blocks(tmp_path: Path) -> None:
    for fold in range(3):
        for number, head in enumerate(("a", "b")):
            write_toy_job(
                tmp_path / FOLDER / "jobs" / str(2 * fold + number),
                {0: 0.1, 1: 0.2},
                labels={"head": head},
                overrides=[f"head={head}", f"data.split.fold={fold}"],
                split={"folds": 3, "fold": fold},
            )
    found = read(tmp_path).at(["a", "b"])
    assert found is not None
    assert (found.sizes, found.planned) == ((3,), 3)


def test_a_moved_sweep_keeps_its_looks(tmp_path: Path) -> None:
    train(tmp_path, 5)
    read(tmp_path)
    (tmp_path / FOLDER).rename(tmp_path / "sweeps" / "t")
    shutil.copytree(tmp_path / "sweeps" / "t", tmp_path / FOLDER)
    train(tmp_path, 10)
    assert level(tmp_path) == Looks((5, 10), 5).alpha


def test_a_look_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    train(tmp_path, 5)
    found = SweepLooks.open(
        tmp_path / FOLDER,
        labels.group_rows(labels.read_jobs(tmp_path / FOLDER)),
        DesignConfig(),
    )
    (tmp_path / FOLDER / ".looks.json.lock").mkdir()
    shown = compare(1 + np.arange(3), 2 + np.arange(3), Comparison(0.05))
    (note,) = found.record([Effect("h1", "h0", "qoverpt_r68", 0, shown)])
    assert note.startswith("This look was not counted, a later report does not know of it: ")
