"""The report of fabricated runs whose metrics are known."""

import json
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from headsweep.errors import UserError
from headsweep.features import cache
from headsweep.report.render import plots, tables, write
from headsweep.report.training_comparison import Training
from headsweep.stats import metrics
from headsweep.stats.metrics import Tracks
from helpers.toy_runs import PT_EDGES, smear, toy_score, write_cache, write_toy_job

WIDTHS = {0: 0.10, 1: 0.12, 2: 0.09, 3: None, 4: 0.11}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep ``presets`` of two heads; one member of ``simpler`` failed."""
    root = tmp_path_factory.mktemp("root")
    write_cache(root, "cache")
    for i, (head, widths) in enumerate(
        {"conservative": {s: 0.05 + 0.01 * s for s in range(5)}, "simpler": WIDTHS}.items()
    ):
        job = root / "sweeps" / "presets" / "jobs" / str(i)
        write_toy_job(job, widths, labels={"head": head}, overrides=[f"head={head}"])
    return root


@pytest.fixture(scope="module")
def built(root: Path) -> write.Report:
    return write.build_report(root / "sweeps" / "presets", root, toy_score)


def tracks_of(root: Path, width: float, seed: int) -> Tracks:
    dev = cache.open_cache(root, "cache").load("dev")
    return Tracks.from_estimate(dev.event, dev.truth, smear(dev.truth, width, seed))


@pytest.mark.parametrize("metric", ["qoverpt_r68", "eta_abs68", "charge_misid", "pt_rmse"])
def test_means_and_t_intervals(root: Path, built: write.Report, metric: str) -> None:
    function = metrics.METRICS[metric].function
    values = [function(tracks_of(root, w, s)) for s, w in WIDTHS.items() if w is not None]
    (value,) = built.get("simpler", metric)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert value.estimate.n == 4
    assert value.estimate.mean == pytest.approx(np.mean(values))
    if np.std(values) > 0:
        assert value.estimate.mean - value.estimate.half == pytest.approx(interval.low)
        assert value.estimate.mean + value.estimate.half == pytest.approx(interval.high)


def test_r68_is_the_generated_one(built: write.Report) -> None:
    (value,) = built.get("simpler", "qoverpt_r68")
    assert value.estimate.mean == pytest.approx(np.mean([0.10, 0.12, 0.09, 0.11]), rel=0.01)


def test_trainings_beside_the_control(built: write.Report) -> None:
    table = tables.beside_table(built)
    assert table in tables.all_tables(built)
    shares = [Training("a", (0.25, 0.5, math.inf), 0.03125), Training("b", (math.inf,), math.nan)]
    own = replace(built, trainings=[*shares, Training("c", (), 1.0), Training("d", (0.5,), 1.0)])
    assert tables.beside_table(own).rows == [
        ["a", "50 (1 of 3 never)", "0.031"],
        ["b", "never (1 of 1 never)", "–"],
        ["c", "–", "1"],
        ["d", "50", "1"],
    ]


def test_markdown_says_what_was_asked_and_how_to_do_it_again(built: write.Report) -> None:
    asked = replace(built, origin=replace(built.origin, question="Which one?"))
    lines = tables.markdown(asked, {}, "That one.").splitlines()
    assert lines[:5] == ["# presets", "", "Which one?", "", "**That one.**"]
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
    assert tables.tails_table(built).rows[1][-1] == "65,476"


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


def test_what_the_backbone_lost_is_said(tmp_path: Path) -> None:
    for i, (name, found) in enumerate({"document": 0.975, "bending": 0.5}.items()):
        write_cache(tmp_path, name)
        file = tmp_path / "cache" / "features" / name / "meta.json"
        meta = {**json.loads(file.read_text()), "hit_purity": 0.9, "hit_efficiency": 0.8}
        meta["efficiency"]["dev"] = found
        file.write_text(json.dumps(meta))
        job = tmp_path / "sweeps" / "features" / "jobs" / str(i)
        write_toy_job(job, {0: 0.1}, labels={"features": name}, cache_key=name)
    built = write.build_report(tmp_path / "sweeps" / "features", tmp_path, toy_score)
    (line,) = [note for note in built.notes if note.startswith("Every figure of document")]
    assert "at threshold 0.1 the backbone finds 97.5% of the true tracks of dev" in line
    assert "hit purity 90.0%, hit efficiency 80.0% on val" in line
    assert any("of bending is" in note and "finds 50.0%" in note for note in built.notes)


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


def test_references_have_their_usable_share(root: Path, built: write.Report) -> None:
    references = {row.label: row for row in built.rows if row.kind == "reference"}
    assert list(references) == ["constant predictor", "analytic estimate", "classical reference"]
    assert references["classical reference"].usable == pytest.approx(0.9)
    assert built.get("classical reference", "qoverpt_r68")[0].tracks == 540
    assert built.get("analytic estimate", "qoverpt_r68")[0].estimate.mean == pytest.approx(
        0.05, rel=0.02
    )
    assert built.get("constant predictor", "charge_misid")[0].estimate.mean == 0.5
    train = cache.open_cache(root, "cache").load("train").truth
    dev = cache.open_cache(root, "cache").load("dev").truth
    expected = np.sqrt(np.mean((train[:, 2].mean(dtype=float) - dev[:, 2]) ** 2))
    assert built.get("constant predictor", "pt_rmse")[0].estimate.mean == pytest.approx(expected)


def test_heads_on_exactly_the_classical_tracks(root: Path, built: write.Report) -> None:
    (value,) = built.get("simpler", "qoverpt_r68", "reference_tracks")
    usable = np.arange(600) < 540
    expected = [
        metrics.qoverpt_r68(tracks_of(root, w, s).take(usable)) for s, w in WIDTHS.items() if w
    ]
    assert value.tracks == 540
    assert value.estimate.mean == pytest.approx(np.mean(expected))


def test_far_from_reference_uses_the_training_core(built: write.Report) -> None:
    # rho is normal with width w, the reference's with 0.02: far is beyond 5 x 0.02.
    expected = np.mean([2 * stats.norm.sf(0.1 / w) for w in (0.10, 0.12, 0.09, 0.11)])
    (value,) = built.get("simpler", "far_from_reference")
    assert value.estimate.mean == pytest.approx(expected, abs=0.04)


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


def test_learning_curves_are_means_and_ranges(built: write.Report) -> None:
    curve = built.curves[(built.curves["label"] == "simpler") & (built.curves["step"] == 0)]
    assert curve["val_loss_mean"].item() == pytest.approx(1.1 * np.mean([0.10, 0.12, 0.09, 0.11]))
    assert curve["val_loss_low"].item() == pytest.approx(1.1 * 0.09)
    assert curve["val_loss_high"].item() == pytest.approx(1.1 * 0.12)


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
    assert "**In qoverpt_r68, against conservative: worse: simpler (+52.3%).**" in text
    assert "## Verdicts (features bending, target plain, steps 3,200, 2 of 2 not checked" in text
    assert "n = 4 of 5; seed 3: loss is NaN at step 700" in text
    assert "- pile-up tracks" in text
    assert "weighted by the pT spectrum" in text
    pictures = list(folder.glob("*.png"))
    assert {f"]({p.name})" in text for p in pictures} == {True}
    assert len(pictures) == 4
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 5000
    assert not list(tmp_path.glob(".tmp*"))


def test_json_is_complete_and_finite(built: write.Report) -> None:
    content = json.loads(built.to_json(), parse_constant=pytest.fail)
    assert content["effects"][0]["verdict"]["word"] == "worse"
    assert [found["label"] for found in content["fairness"]] == ["conservative", "simpler"]
    assert len(content["values"]) == len(built.values)
    overflow = [v for v in content["values"] if v["axis"] == "pt" and v["low"] == 200]
    assert {v["high"] for v in overflow} == {None}
    assert content["rows"][1]["problems"] == ["seed 3: loss is NaN at step 700"]
    rates = [replace(f, rates={0.02: 0.3, 0.1: math.nan}) for f in built.fairness]
    content = json.loads(replace(built, fairness=rates).to_json())
    assert content["fairness"][0]["rates"] == {"0.02": 0.3, "0.1": None}
    more = 4 + 6 + 2  # of curves and losses; usable and efficiency
    assert built.frame()["metric"].nunique() == len(metrics.METRICS) + more


def test_printed_report(built: write.Report) -> None:
    console = Console(file=StringIO(), width=170)
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
    console = Console(file=StringIO(), width=120)
    write.print_report(built, console)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 120
    assert "…" not in text
    main = tables.main_table(built)
    figures = text[text.index("Main figures") :].splitlines()
    first = next(line for line in figures if line.startswith("simpler"))
    assert all(cell in first for cell in main.rows[1])  # no cell is folded


def test_cross_validation_pools_folds_and_uses_nadeau_bengio(tmp_path: Path) -> None:
    values, pooled = [], []
    for seed in range(3):
        parts = []
        for fold in range(2):
            key, width = f"cache{seed}{fold}", 0.1 + 0.02 * seed + 0.01 * fold
            write_cache(tmp_path, key, seed=2 * seed + fold)
            write_toy_job(
                tmp_path / "sweeps" / "cv" / "jobs" / str(2 * seed + fold),
                {0: width},
                split={"folds": 2, "fold": fold, "seed": seed},
                cache_key=key,
            )
            dev = cache.open_cache(tmp_path, key).load("dev")
            estimate = smear(dev.truth, width, 0)
            parts.append(Tracks.from_estimate(dev.event, dev.truth, estimate))
            values.append(metrics.qoverpt_r68(parts[-1]))
        pooled.append(metrics.qoverpt_r68(metrics.concatenate(parts)))
    built = write.build_report(tmp_path / "sweeps" / "cv", tmp_path, toy_score)
    (value,) = built.get("conservative", "qoverpt_r68")
    error = math.sqrt((1 / 6 + 1 / 1) * np.var(values, ddof=1))
    assert value.tracks == 1200
    assert value.estimate.n == 6
    assert value.estimate.mean == pytest.approx(np.mean(pooled))
    assert value.estimate.half == pytest.approx(stats.t.ppf(0.975, 5) * error)
    references = [row.label for row in built.rows if row.kind == "reference"]
    assert references == ["constant predictor", "analytic estimate", "classical reference"]
    assert built.get("classical reference", "qoverpt_r68")[0].estimate.n == 6
    assert "Nadeau-Bengio" in " ".join(built.notes)
    assert "J = 6" in " ".join(built.notes)


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
    built = write.build_report(tmp_path / "sweeps" / "features", tmp_path, toy_score)
    assert [row.label for row in built.rows] == [
        "document",
        "bending",
        "constant predictor",
        "analytic estimate",
        "classical reference (document)",
        "classical reference (bending)",
    ]


def test_losses_of_different_targets_come_with_a_warning(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    for i, target in enumerate(("plain", "log_pt")):
        write_toy_job(
            tmp_path / "sweeps" / "targets" / "jobs" / str(i),
            {0: 0.1},
            labels={"target": target},
            config={"target": {"name": target, "relative": False}},
        )
    built = write.build_report(tmp_path / "sweeps" / "targets", tmp_path, toy_score)
    assert any("not comparable across targets" in note for note in built.notes)
    assert [row.label for row in built.rows[:2]] == ["plain", "log_pt"]


def test_a_configuration_without_any_member_still_has_a_row(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    for i, widths in enumerate(({0: 0.1, 1: 0.2}, {0: None, 1: None})):
        job = tmp_path / "sweeps" / "half" / "jobs" / str(i)
        write_toy_job(job, widths, labels={"head": f"head{i}"}, seeds=3)
    built = write.build_report(tmp_path / "sweeps" / "half", tmp_path, toy_score)
    assert "| head1 | 0 of 3 | – |" in tables.markdown(built, {})
    assert tables.main_table(built).rows[1][:3] == ["head1", "0 of 3", "–"]
    assert "head0: n = 2 of 3; no result of 1 of 3 seeds" in tables.problems(built)


def test_of_many_the_first_and_the_lowest_are_in_pictures(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    for i in range(8):
        job = tmp_path / "sweeps" / "many" / "jobs" / str(i)
        write_toy_job(job, {0: 0.2 - 0.01 * i}, labels={"head": f"head{i}"})
    built = write.build_report(tmp_path / "sweeps" / "many", tmp_path, toy_score)
    assert plots.shown_heads(built) == [f"head{i}" for i in (0, 7, 6, 5, 4, 3)]
    assert len(tables.main_table(built).rows) == 8 + 3


def test_mistakes_are_named(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    write_toy_job(tmp_path / "sweeps" / "dead" / "jobs" / "0", {0: None})
    with pytest.raises(UserError, match=r"absent: no jobs to report; sweeps under .*: dead"):
        write.build_report(tmp_path / "sweeps" / "absent", tmp_path, toy_score)
    with pytest.raises(UserError, match=r"no finished member .*seed 0: loss is NaN at step 700"):
        write.build_report(tmp_path / "sweeps" / "dead", tmp_path, toy_score)
    write_cache(tmp_path, "other", pt_edges=[1.0, 5.0])
    for i, key in enumerate(("cache", "other")):
        write_toy_job(tmp_path / "sweeps" / "mixed" / "jobs" / str(i), {0: 0.1}, cache_key=key)
    with pytest.raises(UserError, match="different pT bins"):
        write.build_report(tmp_path / "sweeps" / "mixed", tmp_path, toy_score)
