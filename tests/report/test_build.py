"""Building a report: every kind of sweep, what it holds, and mistakes."""

import shutil
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from headsweep.config import MLPHeadConfig
from headsweep.errors import UserError
from headsweep.report.build import build_report
from headsweep.report.content import Report
from headsweep.report.render.verdict_tables import answer
from headsweep.store import specification
from headsweep.store.outcome import Outcome
from helpers.toy_runs import toy_score, write_cache, write_toy_job

pytestmark = pytest.mark.slow


def test_heads_and_references_are_told_apart(built: Report) -> None:
    assert [(row.label, row.kind) for row in built.rows] == [
        ("conservative", "head"),
        ("simpler", "head"),
        ("constant predictor", "reference"),
        ("analytic estimate", "reference"),
        ("classical reference", "reference"),
    ]
    assert [(row.finished, row.planned) for row in built.heads] == [(5, 5), (4, 5)]
    assert built.heads[1].r68 == pytest.approx((0.10, 0.12, 0.09, 0.11), rel=0.01)


def test_a_head_may_be_called_like_a_reference(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    job = tmp_path / "sweeps" / "s" / "jobs" / "0"
    write_toy_job(job, {0: 0.1}, labels={"head": "analytic estimate 2"})
    built = build_report(tmp_path / "sweeps" / "s", tmp_path, toy_score)
    assert [row.label for row in built.heads] == ["analytic estimate 2"]
    assert len(built.references) == 3
    assert (built.effects, built.fairness, built.trainings) == ([], [], [])


def test_a_search_has_trials_and_no_verdict(tmp_path: Path) -> None:
    """Of four trials three are complete; they come best first."""
    write_cache(tmp_path, "cache")
    sweep = tmp_path / "sweeps" / "search"
    spec = {"search": {}, "objective": ["val_qoverpt_r68"], "direction": ["minimize"]}
    specification.claim_sweep(sweep, {**spec, "n_trials": 4})
    for number, width in enumerate((0.3, 0.1, 0.2, None)):
        job = sweep / "jobs" / str(number)
        write_toy_job(job, {0: width}, overrides=[f"head.dropout=0.{number}"])
        state = "failed" if width is None else "complete"
        Outcome(state, reason="NaN", values=[] if width is None else [width]).write(job)
    built = build_report(sweep, tmp_path, toy_score)
    assert [round(head.r68[0], 1) for head in built.heads] == [0.1, 0.2, 0.3]
    assert (built.effects, built.fairness, built.claims) == ([], [], [])
    assert built.search is not None
    assert [*built.search.outcomes] == [0, 1, 2, 3]
    for number in range(3):
        Outcome("failed", reason="NaN").write(sweep / "jobs" / str(number))
    with pytest.raises(UserError, match="no complete trial"):
        build_report(sweep, tmp_path, toy_score)


def test_a_factorial_sweep_has_two_families(tmp_path: Path) -> None:
    """ln r68 is the sum of the parts, but for two layers without dropout."""
    write_cache(tmp_path, "cache")
    sweep = tmp_path / "sweeps" / "f"
    specification.claim_sweep(sweep, {"seeds": 4, "design": {"kind": "factorial"}})
    for number, (layers, dropout) in enumerate(product((3, 2), (0.1, 0.0))):
        width = 0.1 * (1.2 if layers == 2 else 1) * (1.1 if dropout == 0 else 1)
        width *= 1.3 if (layers, dropout) == (2, 0.0) else 1
        head = MLPHeadConfig(regression_num_layers=layers, dropout=dropout)
        overrides = [f"head.regression_num_layers={layers}", f"head.dropout={dropout}"]
        widths = {s: width * (1 + 0.005 * s) for s in range(4)}
        write_toy_job(
            sweep / "jobs" / str(number), widths, overrides=overrides, config={"head": asdict(head)}
        )
    built = build_report(sweep, tmp_path, toy_score)
    assert [e.arm for e in built.effects] == [
        *("num_layers=2", "dropout=0"),
        "num_layers=2 with dropout=0",
    ]
    expected = [np.log(1.2) + np.log(1.3) / 2, np.log(1.1) + np.log(1.3) / 2, np.log(1.3)]
    for effect, value in zip(built.effects, expected, strict=True):
        assert effect.verdict is not None
        assert effect.verdict.delta == pytest.approx(value, abs=0.005)
        assert effect.verdict.word == "worse"
    assert [e.verdict.comparisons for e in built.effects if e.verdict] == [2, 2, 1]
    shutil.rmtree(sweep / "jobs/3")  # and now with the predictions of job 0
    write_toy_job(sweep / "jobs/3", {0: 0.1}, overrides=overrides, config={"head": asdict(head)})
    built = build_report(sweep, tmp_path, toy_score)
    assert (len(built.same), len(built.heads), built.effects) == (1, 3, [])
    assert answer(built).startswith("No verdict: a factorial design needs all")


def test_references_of_different_data_have_rows_of_their_own(tmp_path: Path) -> None:
    for i, name in enumerate(("document", "bending")):
        write_cache(tmp_path, name, usable=0.9 - 0.1 * i)
        write_toy_job(
            tmp_path / "sweeps" / "features" / "jobs" / str(i),
            {0: 0.1, 1: 0.2},
            labels={"features": name},
            overrides=[f"features={name}"],
            cache_key=name,
        )
    built = build_report(tmp_path / "sweeps" / "features", tmp_path, toy_score)
    assert [row.label for row in built.rows] == [
        "document",
        "bending",
        "constant predictor",
        "analytic estimate",
        "classical reference (document)",
        "classical reference (bending)",
    ]


def test_mistakes_are_named(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    write_toy_job(tmp_path / "sweeps" / "dead" / "jobs" / "0", {0: None})
    with pytest.raises(UserError, match=r"absent: no jobs to report; sweeps under .*: dead"):
        build_report(tmp_path / "sweeps" / "absent", tmp_path, toy_score)
    with pytest.raises(UserError, match=r"no finished member .*seed 0: loss is NaN at step 700"):
        build_report(tmp_path / "sweeps" / "dead", tmp_path, toy_score)
    write_cache(tmp_path, "other", pt_edges=[1.0, 5.0])
    for i, key in enumerate(("cache", "other")):
        write_toy_job(tmp_path / "sweeps" / "mixed" / "jobs" / str(i), {0: 0.1}, cache_key=key)
    with pytest.raises(UserError, match="different pT bins"):
        build_report(tmp_path / "sweeps" / "mixed", tmp_path, toy_score)
