"""The report of fabricated runs whose metrics are known."""

import json
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from headsweep.features import cache
from headsweep.report.render import all_tables, report_style, tables, verdict_tables, write
from headsweep.report.render.markdown import markdown
from headsweep.report.render.recommendation import recommendation
from headsweep.report.training_comparison import TrainingComparison
from headsweep.stats import metrics
from headsweep.terminal import plain_console
from helpers.toy_runs import PT_EDGES, toy_score, write_cache, write_toy_job


@pytest.mark.slow
def test_trainings_beside_the_control(built: write.Report) -> None:
    table = tables.beside_table(built)
    assert table in all_tables.figure_tables(built).values()
    shares = [
        TrainingComparison("a", (0.25, 0.5, math.inf), 0.03125),
        TrainingComparison("b", (math.inf,), math.nan),
    ]
    own = replace(
        built,
        trainings=[*shares, TrainingComparison("c", (), 1.0), TrainingComparison("d", (0.5,), 1.0)],
    )
    assert tables.beside_table(own).rows == [
        ["a", "50 (1 of 3 never)", "0.031"],
        ["b", "never (1 of 1 never)", "–"],
        ["c", "–", "1"],
        ["d", "50", "1"],
    ]


def test_markdown_says_what_was_asked_and_how_to_do_it_again(built: write.Report) -> None:
    asked = replace(built, origin=replace(built.origin, question="Which one?"))
    lines = markdown(asked, {}).splitlines()
    answer, taken = verdict_tables.answer(built), recommendation(built)
    assert lines[:7] == ["# presets", "", "Which one?", "", f"**{taken}**", "", answer]
    assert "## Stability over the members" in lines
    at = lines.index("## Provenance")
    assert f"- cache key: {built.origin.facts['cache key']}" in lines[at:]
    assert lines[-2:] == [f"    {command}" for command in built.origin.commands]


def test_failed_members_are_named(built: write.Report) -> None:
    simpler = next(row for row in built.rows if row.label == "simpler")
    assert (simpler.finished, simpler.planned) == (4, 5)
    (line,) = tables.problems(built)
    assert line == "simpler: n = 4 of 5; seed 3: loss is NaN at step 700"
    assert "4 of 5" in tables.main_table(built).rows[1]


def test_gap_stands_with_its_loss(built: write.Report) -> None:
    assert built.get("simpler", "gap")[0].estimate.mean == pytest.approx(1.5)
    assert built.get("simpler", "last_dev_loss")[0].estimate.mean == pytest.approx(0.3)
    table = tables.training_table(built)
    assert table.columns[2:4] == ["gap →1", "L_dev ↓"]
    assert table.rows[1][2:4] == ["1.5 ± 0", "0.3 ± 0"]
    assert table.rows[1][-1] == "16"
    assert tables.tails_table(built).rows[1][-1] == "100"  # see test_absent


def test_stored_curve_metrics_are_shown_for_heads(built: write.Report) -> None:
    table = tables.training_table(built)
    assert [row[0] for row in table.rows] == ["conservative", "simpler"]
    shown = dict(zip(table.columns, table.rows[1], strict=True))
    assert shown["steps_to_95 [%] ↓"] == "40 ± 0"
    assert shown["loss_at_10pct ↓"] == "0.6 ± 0"
    assert shown["grad_norm_cv ↓"] == "0.2 ± 0"
    assert shown["loss_spikes [1/1000 steps] ↓"] == "–"  # null in result.json
    assert built.get("simpler", "train_loss")[0].estimate.mean == pytest.approx(0.105)
    assert built.get("simpler", "last_val_loss")[0].estimate.mean == pytest.approx(0.25)


def test_clipped_tracks_stand_in_every_table_of_tracks(built: write.Report) -> None:
    for table in (tables.main_table(built), tables.tails_table(built), tables.common_table(built)):
        assert "clip_fraction [%] ↓" in table.columns


def test_usable_share_of_the_reference_by_eta(root: Path, built: write.Report) -> None:
    eta = np.abs(cache.open_cache(root, "cache").load("dev").truth[:, 0])
    inside = (eta >= 0.9) & (eta < 1.4)
    value = built.get("classical reference", "usable", "abs_eta")[1]
    assert (value.bin, value.estimate.mean) == (
        "0.9–1.4",
        pytest.approx(np.mean(np.arange(600)[inside] < 540)),
    )
    both = built.get("classical reference", "efficiency", "abs_eta")[1]
    assert both.estimate.mean == pytest.approx(value.estimate.mean / 2)  # half of them are found
    assert built.get("simpler", "efficiency", "abs_eta")[1].estimate.mean == 0.5
    (row,) = [
        r for r in tables.binned_table(built, "abs_eta", "eta_abs68").rows if "usable" in r[0]
    ]
    assert row[0] == "usable by the classical reference [%]"
    assert row[2] == value.estimate.text(100)
    assert row[-1] == "–"  # no track beyond |eta| 2.7
    assert not any("usable" in r[0] for r in tables.binned_table(built, "pt", "qoverpt_r68").rows)


def test_a_single_run_has_wilsons_interval(built: write.Report) -> None:
    table = tables.main_table(built)
    cells = {row[0]: row[table.columns.index("charge_misid [%] ↓")] for row in table.rows}
    interval = stats.binomtest(300, 600).proportion_ci(method="wilson")
    low, high = 100 * interval.low, 100 * interval.high
    assert cells["constant predictor"] == f"50 [{low:.3g}, {high:.3g}]"
    assert "[" not in cells["simpler"]  # five seeds have a t interval
    assert "Wilson" in table.note


def test_bins_of_every_axis(root: Path, built: write.Report) -> None:
    values = built.get("simpler", "qoverpt_r68", "pt")
    assert [v.bin for v in values] == [
        "< 5",
        "5–10",
        "10–20",
        "20–50",
        "50–100",
        "100–200",
        "≥ 200",
    ]
    pt = cache.open_cache(root, "cache").load("dev").truth[:, 2]
    assert [v.tracks for v in values] == np.histogram(pt, [0, *PT_EDGES, np.inf])[0].tolist()
    assert [v.bin for v in built.get("simpler", "eta_abs68", "abs_eta")][-1] == "≥ 2.7"
    table = tables.binned_table(built, "pt", "qoverpt_r68")
    assert table.columns == ["", *(v.bin for v in values)]
    assert all(cell.startswith("n = ") for cell in table.rows[0][1:])
    assert len(built.get("simpler", "scale_bias", "phi")) == 16


def test_an_empty_bin_prints_n_0(root: Path, built: write.Report) -> None:
    table = tables.binned_table(built, "abs_eta", "qoverpt_r68")  # no track beyond |eta| 2.7
    assert table.rows[0][-1] == "n = 0†"
    assert table.rows[1][-1] == "–"
    assert "fewer than 100 tracks" in table.note


def test_the_core_is_hidden_where_charges_are_wrong(built: write.Report) -> None:
    rows = {row[0]: row for row in tables.collider_table(built).rows}
    constant = next(row for label, row in rows.items() if label.startswith("constant"))
    assert constant[2] == "–"
    assert rows["simpler"][2] != "–"


@pytest.mark.slow
def test_written_report(tmp_path: Path, built: write.Report) -> None:
    folder = tmp_path / "report"
    write.write_report(built, folder)
    write.write_report(built, folder)  # again, over the old one
    text = (folder / "report.md").read_text(encoding="utf-8")
    for label in (
        "conservative",
        "simpler",
        "constant predictor",
        "classical reference | 90.0% |",
    ):
        assert f"| {label}" in text
    headline = "no verdict: simpler. 1 of 5 seeds of simpler failed."
    assert "**No head can be named: no comparison has a verdict (1 of 5 seeds of simpler" in text
    assert f"\n\nIn qoverpt_r68, against conservative: {headline}" in text
    assert "## Verdicts (features bending, target plain, steps 3,200, 2 of 2 not checked" in text
    assert "n = 4 of 5; seed 3: loss is NaN at step 700" in text
    assert "- pile-up tracks" in text
    assert "weighted by the pT spectrum" in text
    pictures = list(folder.glob("*.png"))
    assert {f"]({p.name})" in text for p in pictures} == {True}
    assert len(pictures) == 7
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 5000
    assert not list(tmp_path.glob(".tmp*"))


def test_json_is_complete_and_finite(built: write.Report) -> None:
    content = json.loads(built.to_json(), parse_constant=pytest.fail)
    assert content["effects"][0]["verdict"] is None
    assert content["effects"][0]["shortfall"] == "1 of 5 seeds of simpler failed"
    assert [found["label"] for found in content["fairness"]] == ["conservative", "simpler"]
    assert len(content["values"]) == len(built.values)
    overflow = [v for v in content["values"] if v["axis"] == "pt" and v["low"] == 200]
    assert {v["high"] for v in overflow} == {None}
    assert content["heads"][1]["problems"] == ["seed 3: loss is NaN at step 700"]
    rates = [replace(f, rates={0.02: 0.3, 0.1: math.nan}) for f in built.fairness]
    content = json.loads(replace(built, fairness=rates).to_json())
    assert content["fairness"][0]["rates"] == {"0.02": 0.3, "0.1": None}
    more = 4 + 6 + 2  # of curves and losses; usable and efficiency
    known = [m for m in metrics.METRICS.values() if "uncertainty" not in m.tables]
    assert built.frame()["metric"].nunique() == len(known) + more


def test_printed_report(built: write.Report) -> None:
    console = plain_console(StringIO(), width=170)
    write.print_report(built, console)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    (value,) = built.get("simpler", "qoverpt_r68")
    for part in (
        value.estimate.text(),
        "charge_misid",
        "4 of 5",
        "against conservative",
        "alignment",
    ):
        assert part in text


def test_printed_report_fits_120_columns(built: write.Report) -> None:
    console = plain_console(StringIO(), width=120)
    write.print_report(built, console)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 120
    assert "…" not in text
    main = tables.main_table(built)
    figures = text[text.index("Main figures") :].splitlines()
    first = next(line for line in figures if line.startswith("simpler"))
    assert all(cell in first for cell in main.rows[1])  # no cell is folded


def test_a_configuration_without_any_member_still_has_a_row(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    for i, widths in enumerate(({0: 0.1, 1: 0.2}, {0: None, 1: None})):
        job = tmp_path / "sweeps" / "half" / "jobs" / str(i)
        write_toy_job(job, widths, labels={"head": f"head{i}"}, seeds=3)
    built = write.build_report(tmp_path / "sweeps" / "half", tmp_path, toy_score)
    assert "| head1 | 0 of 3 | – |" in markdown(built, {})
    assert tables.main_table(built).rows[1][:3] == ["head1", "0 of 3", "–"]
    assert "head0: n = 2 of 3; no result of 1 of 3 seeds" in tables.problems(built)


@pytest.mark.slow
def test_of_many_the_first_and_the_lowest_are_in_pictures(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    for i in range(8):
        job = tmp_path / "sweeps" / "many" / "jobs" / str(i)
        write_toy_job(job, {0: 0.2 - 0.01 * i}, labels={"head": f"head{i}"})
    built = write.build_report(tmp_path / "sweeps" / "many", tmp_path, toy_score)
    assert report_style.shown_heads(built) == [f"head{i}" for i in (0, 7, 6, 5, 4, 3)]
    assert len(tables.main_table(built).rows) == 8 + 2  # not the one of the other tracks
    assert len(tables.common_table(built).rows) == 8 + 3
