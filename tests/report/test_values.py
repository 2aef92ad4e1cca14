"""Figures of heads and references, worked out from the widths that their toys were made with."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headsweep.features import cache
from headsweep.report.build import build_report
from headsweep.report.content import Report
from headsweep.report.predictions import Sample
from headsweep.report.render import binned_pictures, pictures
from headsweep.report.render.picture import Points, Stairs
from headsweep.report.values import REFERENCE, SAGITTA, Value, row_values
from headsweep.stats import metrics
from headsweep.stats.intervals import Estimate
from headsweep.stats.tracks import Tracks, concatenate
from headsweep.store.labels import Block
from helpers.head_rows import make_head_row
from helpers.toy_presets import WIDTHS, tracks_of
from helpers.toy_runs import PT_EDGES, smear, toy_score, write_cache, write_toy_job


@pytest.mark.parametrize("metric", ["qoverpt_r68", "eta_abs68", "charge_misid", "pt_rmse"])
def test_means_and_t_intervals(root: Path, built: Report, metric: str) -> None:
    function = metrics.METRICS[metric].function
    values = [function(tracks_of(root, w, s)) for s, w in WIDTHS.items() if w is not None]
    (value,) = built.get("simpler", metric)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert value.estimate.n == 4
    assert value.estimate.mean == pytest.approx(np.mean(values))
    if np.std(values) > 0:
        assert value.estimate.mean - value.estimate.half == pytest.approx(interval.low)
        assert value.estimate.mean + value.estimate.half == pytest.approx(interval.high)


def test_r68_is_the_generated_one(built: Report) -> None:
    (value,) = built.get("simpler", "qoverpt_r68")
    assert value.estimate.mean == pytest.approx(np.mean([0.10, 0.12, 0.09, 0.11]), rel=0.01)


def test_references_have_their_usable_share(root: Path, built: Report) -> None:
    references = {row.label: row for row in built.references}
    assert list(references) == ["constant predictor", "analytic estimate", "classical reference"]
    assert references["classical reference"].usable == pytest.approx(0.9)
    assert built.get("classical reference", "qoverpt_r68", "reference_tracks")[0].tracks == 540
    assert built.get("analytic estimate", "qoverpt_r68")[0].estimate.mean == pytest.approx(
        0.05, rel=0.02
    )
    assert built.get("constant predictor", "charge_misid")[0].estimate.mean == 0.5
    train = cache.open_cache(root, "cache").load("train").truth
    dev = cache.open_cache(root, "cache").load("dev").truth
    expected = np.sqrt(np.mean((train[:, 2].mean(dtype=float) - dev[:, 2]) ** 2))
    assert built.get("constant predictor", "pt_rmse")[0].estimate.mean == pytest.approx(expected)


def test_heads_on_exactly_the_classical_tracks(root: Path, built: Report) -> None:
    (value,) = built.get("simpler", "qoverpt_r68", "reference_tracks")
    usable = np.arange(600) < 540
    expected = [
        metrics.qoverpt_r68(tracks_of(root, w, s).take(usable)) for s, w in WIDTHS.items() if w
    ]
    assert value.tracks == 540
    assert value.estimate.mean == pytest.approx(np.mean(expected))


def test_far_from_reference_uses_the_training_core(built: Report) -> None:
    # rho is normal with width w, the reference's with 0.02: far is beyond 5 x 0.02.
    expected = np.mean([2 * stats.norm.sf(0.1 / w) for w in (0.10, 0.12, 0.09, 0.11)])
    (value,) = built.get("simpler", "far_from_reference")
    assert value.estimate.mean == pytest.approx(expected, abs=0.04)


def test_learning_curves_are_means_and_ranges(built: Report) -> None:
    curve = built.curves[(built.curves["label"] == "simpler") & (built.curves["step"] == 0)]
    assert curve["val_loss_mean"].item() == pytest.approx(1.1 * np.mean([0.10, 0.12, 0.09, 0.11]))
    assert curve["val_loss_low"].item() == pytest.approx(1.1 * 0.09)
    assert curve["val_loss_high"].item() == pytest.approx(1.1 * 0.12)


@pytest.mark.slow
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
        pooled.append(metrics.qoverpt_r68(concatenate(parts)))
    built = build_report(tmp_path / "sweeps" / "cv", tmp_path, toy_score)
    (value,) = built.get("conservative", "qoverpt_r68")
    error = math.sqrt((1 / 6 + 1 / 1) * np.var(values, ddof=1))
    assert value.tracks == 1200
    assert value.estimate.n == 6
    assert value.estimate.mean == pytest.approx(np.mean(pooled))
    assert value.estimate.half == pytest.approx(stats.t.ppf(0.975, 5) * error)
    assert [row.reference for row in built.references] == [
        "constant predictor",
        "analytic estimate",
        "classical reference",
    ]
    (value,) = built.get("classical reference", "qoverpt_r68", "reference_tracks")
    assert value.estimate.n == 6
    assert "J = 6" in " ".join(built.notes)


def test_no_reference_is_compared_on_other_tracks(tmp_path: Path) -> None:
    """A head that errs only where a reference gives up is as good as it on the same tracks."""
    write_cache(tmp_path, "cache", usable=0.8, without_formula=60)
    write_toy_job(tmp_path / "sweeps" / "s" / "jobs" / "0", {0: 0.01, 1: 0.01})
    usable = (np.arange(600) >= 60) & (np.arange(600) < 480)

    def score(*args: Any, **more: Any) -> tuple[Tracks, float]:
        tracks, loss = toy_score(*args, **more)
        if len(tracks) == 600:
            sign = np.where(usable, 1.0, -1.0)
            tracks = replace(tracks, kappa=tracks.kappa * sign, charge=tracks.charge * sign)
        return tracks, loss

    built = build_report(tmp_path / "sweeps" / "s", tmp_path, score)
    assert built.get("conservative", "charge_misid")[0].estimate.mean == pytest.approx(180 / 600)
    for label in ("conservative", "analytic estimate", "classical reference"):
        (value,) = built.get(label, "charge_misid", "reference_tracks")
        assert (value.tracks, value.estimate.mean) == (420, 0.0)
    partial = {"analytic estimate", "classical reference"}
    shares = ("usable", "efficiency")
    for axis in {value.axis for value in built.values}:
        own = [v for v in built.values if v.axis == axis and v.metric not in shares]
        counts: dict[str, set[int]] = {}
        for v in own:
            assert (v.label in partial) <= v.axis.startswith("reference_")
            counts.setdefault(v.bin, set()).add(v.tracks)
        assert all(len(found) == 1 for found in counts.values())
    assert built.common == "the 70.0% of the tracks that every reference can use"
    for picture in pictures.main_pictures(built):
        for panel in picture.panels[picture.name == "tails" :]:
            drawn = {s.label for s in panel.series if isinstance(s, Stairs)}
            same = "same tracks" in panel.y.note or picture.name == "resolution"
            assert (partial <= drawn) == same
            assert same or not partial & drawn


def test_shares_by_eta(root: Path, built: Report) -> None:
    eta = np.abs(cache.open_cache(root, "cache").load("dev").truth[:, 0])
    inside = (eta >= 0.9) & (eta < 1.4)
    usable = built.get("classical reference", "usable", "abs_eta")[1].estimate.mean
    assert usable == pytest.approx(np.mean(np.arange(600)[inside] < 540))
    both = built.get("classical reference", "efficiency", "abs_eta")[1].estimate.mean
    assert both == pytest.approx(usable / 2)  # half of the true tracks are found
    assert built.get("simpler", "efficiency", "abs_eta")[1].estimate.mean == 0.5
    assert built.get("simpler", "usable", "abs_eta") == []


def test_every_axis_holds_all_tracks_once(root: Path, built: Report) -> None:
    pt = cache.open_cache(root, "cache").load("dev").truth[:, 2]
    found = built.get("simpler", "qoverpt_r68", "pt")
    assert [v.tracks for v in found] == np.histogram(pt, [0, *PT_EDGES, np.inf])[0].tolist()
    for axis, bins in (("pt", 7), ("abs_eta", 5), ("phi", 16)):
        counts = [value.tracks for value in built.get("simpler", "scale_bias", axis)]
        assert (len(counts), sum(counts)) == (bins, 600)
    common = built.get("simpler", "qoverpt_r68", f"{REFERENCE}pt")
    assert sum(value.tracks for value in common) == 540
    signed = {value.metric for value in built.values if value.axis == "eta"}
    assert signed == set(SAGITTA)


@pytest.mark.parametrize(
    ("axis", "low", "high", "words"),
    [
        ("pt", 0.0, 5.0, "< 5"),
        ("pt", 5.0, 10.0, "5–10"),
        ("pt", 200.0, math.inf, "≥ 200"),
        ("abs_eta", 0.0, 0.9, "0–0.9"),
        ("eta", -math.inf, -2.7, "< -2.7"),
    ],
)
def test_bins_in_words(axis: str, low: float, high: float, words: str) -> None:
    assert Value("a", "scale_bias", axis, low, high, 1, Estimate(0.0, 0.0, 1)).bin == words


def test_the_table_has_every_figure(built: Report) -> None:
    frame = built.frame()
    assert len(frame) == len(built.values)
    assert [*frame] == ["label", "metric", "axis", "low", "high", "tracks", "mean", "half", "n"]
    row = frame.query("label == 'simpler' and metric == 'gap'").iloc[0]
    assert row["mean"] == pytest.approx(1.5)


def test_figures_by_number_of_stations(root: Path, built: Report) -> None:
    """Known only where a feature of the hits tells stations apart."""
    assert built.get("simpler", "qoverpt_r68", "stations") == []
    tracks = tracks_of(root, 0.1, 0)
    number, common = np.arange(600) % 6, np.arange(600) < 300
    sample = Sample(tracks, common, {}, Block(0, 0), 0, stations=number)
    row = make_head_row("a", [sample], efficiency_by_eta=(1.0,) * 5)
    values = [v for v in row_values(row, PT_EDGES) if v.axis.endswith("stations")]
    found = [v for v in values if (v.metric, v.axis) == ("qoverpt_r68", "stations")]
    assert [v.bin for v in found] == ["< 2", "2", "3", "4", "≥ 5"]
    assert [v.tracks for v in found] == [200, 100, 100, 100, 100]
    expected = np.quantile(np.abs(tracks.rho[number == 3]), 0.6827)
    assert found[2].estimate.mean == pytest.approx(expected)
    both = [v for v in values if (v.metric, v.axis) == ("qoverpt_r68", "reference_stations")]
    expected = np.quantile(np.abs(tracks.rho[(number == 3) & common]), 0.6827)
    assert both[2].estimate.mean == pytest.approx(expected)
    metrics = {"qoverpt_r68", "qoverpt_r95_r68", "eta_abs68", "phi_abs68", "charge_misid"}
    assert {v.metric for v in values} == metrics
    report = replace(
        built, heads=[replace(built.heads[0], label="a")], values=values, references=[]
    )
    picture = binned_pictures.in_bins(report, "stations", "qoverpt_r68")
    assert picture.x.words == ("< 2", "2", "3", "4", "≥ 5")
    points = picture.panels[0].series[0]
    assert isinstance(points, Points)
    np.testing.assert_allclose(points.y, [v.estimate.mean for v in found])
    np.testing.assert_allclose(points.x, np.arange(5) + 0.5)
