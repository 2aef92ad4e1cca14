"""A confirmation's report, whose figures follow by hand from what lies in the folders."""

import json
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from headsweep.config import TracksConfig
from headsweep.errors import UserError
from headsweep.features import cache
from headsweep.files import write_sealed
from headsweep.report.render import page as render_page
from headsweep.report.render import verdict_tables, write
from headsweep.stats import metrics
from headsweep.stats.tracks import Tracks
from headsweep.store import ledger, runs
from headsweep.terminal import plain_console
from helpers.toy_runs import smear, toy_score, write_cache, write_toy_job

pytestmark = pytest.mark.slow

SEEDS = range(1000, 1005)
SEARCHED = {0: 0.20, 1: 0.24, 2: 0.21}
WIDTHS = {
    "conservative": {s: 0.30 + 0.01 * (s % 3) for s in SEEDS},
    "simpler": {s: 0.40 + 0.02 * (s % 4) for s in SEEDS},
    "trial": {s: 0.25 + 0.01 * (s % 5) for s in SEEDS},
}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two presets, and trial 7 of a search in job 2; test is a fixed split."""
    write_cache(tmp_path, "cache", n_test=600)
    folder = tmp_path / "sweeps" / "confirm"
    source = {"source": TracksConfig(path="x", features=["x", "y", "z"], pt_edges=[5.0, 10.0])}
    for number, widths in enumerate(WIDTHS.values()):
        job, head = folder / "jobs" / str(number), [*WIDTHS][number]
        overrides = ["head.dropout=0.2"] if head == "trial" else []
        labels = {"head": "conservative" if head == "trial" else head}
        write_toy_job(job, widths, labels=labels, overrides=overrides)
        config = runs.read_config(job)
        config["data"]["source"] = {**asdict(source["source"])}
        about = runs.read_job(job) or {}
        runs.write_job(job, config, {**about, "data_key": "d" * 16})
        val = cache.open_cache(tmp_path, "cache").load("val")
        for seed, width in widths.items():
            tracks = Tracks.from_estimate(val.event, val.truth, smear(val.truth, width, seed))
            member = job / f"seed_{seed}"
            result, history = runs.read_result(member), runs.read_history(member)
            assert result is not None
            runs.write_member(member, result, history, predictions=pd.DataFrame(asdict(tracks)))
    spec = {
        "seeds": len(SEEDS),
        "design": {"split": "test"},
        "jobs": {"0 a": {}, "1 b": {}, "2 c": {}},
        "confirm": {
            "study": "optuna",
            "metric": "val_qoverpt_r68",
            "jobs": {2: {"trial": 7, "seeds": SEARCHED}},
        },
    }
    write_sealed(folder / "spec.yaml", spec)
    return folder


def build(sweep: Path) -> write.Report:
    return write.build_report(sweep, sweep.parents[1], toy_score)


def test_optimism_is_the_search_against_fresh_seeds_on_val(sweep: Path) -> None:
    found = build(sweep).confirmation
    assert found is not None
    assert [row.label for row in found.rows] == ["conservative", "simpler", "trial 7"]
    trial = found.rows[2]
    files = sorted((sweep / "jobs" / "2").glob("seed_*/result.json"))
    val = [json.loads(f.read_text())["metrics"]["val_qoverpt_r68"] for f in files]
    searched = [*SEARCHED.values()]
    test = stats.ttest_ind(np.log(searched), np.log(val), equal_var=False)
    interval = test.confidence_interval(0.95)
    assert trial.search is not None
    assert trial.optimism is not None
    assert trial.search.mean == pytest.approx(np.mean(searched))
    assert (trial.search.n, trial.val.n) == (3, 5)
    assert trial.val.mean == pytest.approx(np.mean(val))
    assert trial.optimism.delta == pytest.approx(np.mean(np.log(searched)) - np.mean(np.log(val)))
    assert (trial.optimism.low, trial.optimism.high) == pytest.approx((*interval,))
    assert [row.search for row in found.rows[:2]] == [row.optimism for row in found.rows[:2]]


def test_the_shift_is_that_of_the_same_heads_and_knows_the_scatter_of_events(sweep: Path) -> None:
    found = build(sweep).confirmation
    assert found is not None
    assert found.events
    part = cache.open_cache(sweep.parents[1], "cache").load("test")
    for row, widths in zip(found.rows, WIDTHS.values(), strict=True):
        values = [
            metrics.qoverpt_r68(
                Tracks.from_estimate(part.event, part.truth, smear(part.truth, width, seed))
            )
            for seed, width in widths.items()
        ]
        shifts = np.log(values) - np.log([*widths.values()])
        seeds_only = stats.ttest_1samp(shifts, 0).confidence_interval(0.95)
        assert row.scored.mean == pytest.approx(np.mean(values))
        assert row.shift.delta == pytest.approx(np.mean(shifts))
        # Ten tracks on val scatter far more than five seeds of the same width do.
        assert row.shift.high - row.shift.low > 5 * (seeds_only.high - seeds_only.low)


def test_on_dev_nothing_is_called_test(sweep: Path) -> None:
    spec = runs.read_spec(sweep)
    spec["design"]["split"] = "dev"
    spec["confirm"]["metric"] = "val_loss"
    write_sealed(sweep / "spec.yaml", spec)
    for member in sweep.glob("jobs/*/seed_*"):
        result = runs.read_result(member)
        assert result is not None
        result["metrics"]["val_loss"] = result["width"]
        runs.write_member(member, result, runs.read_history(member))
    built = build(sweep)
    assert built.confirmation is not None
    assert [row.scored.mean for row in built.confirmation.rows] == pytest.approx(
        [np.mean([*widths.values()]) for widths in WIDTHS.values()]
    )
    table = verdict_tables.confirmation_table(built)
    assert "shift: dev" in table.rows[1][0]
    assert "test" not in " ".join([table.title, table.note, *table.rows[1]])


def test_a_search_of_one_seed_has_no_interval(sweep: Path) -> None:
    spec = runs.read_spec(sweep)
    spec["confirm"]["jobs"][2]["seeds"] = {0: 0.2}
    write_sealed(sweep / "spec.yaml", spec)
    found = build(sweep).confirmation
    assert found is not None
    optimism = found.rows[2].optimism
    assert optimism is not None
    assert np.isnan(optimism.low)
    assert optimism.text() == f"{0.2 / stats.gmean([*WIDTHS['trial'].values()]) - 1:+.1%}"


def test_every_reading_is_counted_and_shown(sweep: Path, tmp_path: Path) -> None:
    first, second = build(sweep), build(sweep)
    root = sweep.parents[1]
    assert [line.sweep for line in ledger.read_all(root)] == ["confirm", "confirm"]
    assert ledger.read_all(root)[0].configurations == ["conservative", "simpler", "trial 7"]
    assert first.on == " on test, never read before"
    assert second.on == " on test, read 1x before (confirm 1x)"
    write.write_report(second, tmp_path / "report")
    console = plain_console(StringIO(), width=200)
    write.print_report(second, console)
    assert isinstance(console.file, StringIO)
    page = render_page.page(second).replace("<wbr>", "").replace("\xa0", " ")
    texts = [console.file.getvalue(), page, (tmp_path / "report" / "report.md").read_text()]
    table = verdict_tables.confirmation_table(second)
    labels = [
        "trial 7, optimism: search",
        *(f"{x}, shift: test" for x in ("conservative", "simpler", "trial 7")),
    ]
    assert [row[0] for row in table.rows] == labels
    for text in texts:
        assert "Optimism, and shift to test on test, read 1x before (confirm 1x)" in text
        assert "Main figures on test, read 1x before (confirm 1x)" in text
        assert "Verdicts on test, read 1x before (confirm 1x)" in text
        assert "by true pT in GeV on test, read 1x before" in text
        assert "the split test of these data" in text
        assert "Split test, at the weights" in text
        assert "L_test" in text
        assert "L_dev" not in text
        assert "dev_loss" not in text
        assert all(cell in text for row in table.rows for cell in row)
    text = (tmp_path / "report" / "report.json").read_text()
    assert '"last_test_loss"' in text
    assert "dev_loss" not in text
    assert {"test_loss", "last_test_loss"} <= set(second.frame()["metric"])
    content = json.loads(text)
    assert content["split"] == "test"
    assert content["readings"]["before"][0]["sweep"] == "confirm"
    assert content["confirmation"]["rows"][2]["search"]["n"] == 3
    assert {effect.arm for effect in second.effects} == {"simpler", "trial 7"}
    assert {effect.control for effect in second.effects} == {"conservative"}


def test_it_is_read_after_the_ledger_knows(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headsweep.report.build.ScoredCache.open", killed)
    with pytest.raises(KeyboardInterrupt):
        build(sweep)
    assert len(ledger.read_all(sweep.parents[1])) == 1


def test_data_without_a_test_split(sweep: Path) -> None:
    root = sweep.parents[1]
    write_cache(root, "none")
    for job in runs.find_jobs(sweep):
        about = runs.read_job(job) or {}
        runs.write_job(job, runs.read_config(job), {**about, "cache_key": "none"})
    with pytest.raises(UserError, match="has no split 'test', only train, val, dev"):
        build(sweep)
    assert ledger.read_all(root) == []


def test_a_report_on_dev_reads_no_test(sweep: Path) -> None:
    spec = {k: v for k, v in runs.read_spec(sweep).items() if k not in ("confirm", "design")}
    write_sealed(sweep / "spec.yaml", spec)
    built = build(sweep)
    assert (built.split, built.readings, built.confirmation) == ("dev", None, None)
    assert ledger.read_all(sweep.parents[1]) == []
