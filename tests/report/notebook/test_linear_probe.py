"""The linear read-out, against dense formulas and on features whose content is known."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headsweep.backbone.truth import TruthBackbone
from headsweep.config import FeaturesConfig, SplitConfig
from headsweep.errors import UserError
from headsweep.features import extract
from headsweep.features.cache import Features, FeatureSet
from headsweep.report.notebook import linear_probe, track_plots
from headsweep.report.render.matplotlib_renderer import png
from headsweep.stats.bins import binned, pt_axis
from headsweep.stats.metrics import evaluate
from helpers.toy_events import ToySource, toy_events


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    root = tmp_path_factory.mktemp("root")
    source, backbone = ToySource(toy_events(400)), TruthBackbone(1.0, 1.0, 0, 4)
    return extract.build(source, backbone, SplitConfig(), FeaturesConfig("document"), root)


def test_pooled_is_what_a_loop_gives(cache: FeatureSet) -> None:
    split = cache.load("val")
    expected = []
    for first, last in zip(split.offsets[:-1], split.offsets[1:], strict=True):
        x, p = split.raw[first:last].astype(float), split.p[first:last, None].astype(float)
        total = (p * x).sum(0)
        expected.append(np.concatenate([total / p.sum(), total, x.max(0), x.min(0)]))
    np.testing.assert_allclose(linear_probe.pooled(split), expected, rtol=1e-4, atol=1e-4)
    assert linear_probe.pooled(split, "encoded").shape[1] == 4 * cache.meta.dim
    with pytest.raises(UserError, match="part=query"):
        linear_probe.pooled(split, "query")


def test_ridge_is_the_best_by_the_dense_formula() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 8))
    x[:, 7] = x[:, 6]  # no rank
    weight = rng.uniform(0.5, 3, 40)
    y = 3 + x @ rng.normal(size=8) + rng.normal(size=40) * 2
    slope, level, strength = linear_probe.ridge(x, y, weight)

    def dense(strength: float) -> tuple[np.ndarray, float]:
        """Coefficients by normal equations with a free constant, and the criterion by its trace."""
        a, w = np.c_[np.ones(40), x], np.diag(weight)
        inverse = np.linalg.inv(a.T @ w @ a + strength * np.diag([0.0, *np.ones(8)]))
        found = inverse @ a.T @ w @ y
        free = 40 - np.trace(a @ inverse @ a.T @ w)
        return found, float(weight @ (y - a @ found) ** 2) / free**2

    strengths = [own * weight.mean() for own in linear_probe.RIDGES]
    assert strength == pytest.approx(min(strengths, key=lambda own: dense(own)[1]))
    np.testing.assert_allclose([level, *slope], dense(strength)[0], rtol=1e-6)


@dataclass(frozen=True)
class Known:
    """One hit a track, whose first feature is q/pT to 10%, or noise as the second."""

    informed: bool

    @property
    def meta(self) -> Any:
        return SimpleNamespace(feature_names=["x", "y"])

    def load(self, split: str) -> Features:
        n = {"train": 3000, "val": 1000}[split]
        rng = np.random.default_rng(n)
        pt, q = np.exp(rng.uniform(1, 5, n)), rng.choice([-1.0, 1.0], n)
        raw = rng.normal(size=(n, 2))
        if self.informed:
            raw[:, 0] = 20 * q / pt * (1 + 0.1 * rng.normal(size=n))
        truth = np.stack([rng.normal(size=n), rng.normal(size=n), pt, q], axis=1)
        nothing = np.full((n, 4), np.nan, np.float32)
        return Features(
            raw=raw.astype(np.float32),
            encoded=np.zeros((n, 1), np.float32),
            p=np.ones(n, np.float32),
            offsets=np.arange(n + 1),
            query=np.zeros((n, 1), np.float32),
            truth=truth.astype(np.float32),
            event=np.arange(n),
            axis=truth[:, :2].astype(np.float32) + np.float32(0.01),
            analytic=nothing,
            classical=nothing,
        )


def test_a_read_out_finds_what_is_there_and_nothing_else() -> None:
    known: Any = Known(True)
    tracks = linear_probe.read_out(known)
    assert tracks.rho.std() == pytest.approx(0.1, rel=0.1)
    assert evaluate(tracks, ["charge_misid"])["charge_misid"] == 0
    np.testing.assert_allclose(tracks.eta - tracks.eta_true, 0.01, atol=1e-5)
    unknown: Any = Known(False)
    tracks = linear_probe.read_out(unknown)
    assert evaluate(tracks, ["qoverpt_r68"])["qoverpt_r68"] == pytest.approx(1, abs=0.05)
    assert evaluate(tracks, ["charge_misid"])["charge_misid"] == pytest.approx(0.5, abs=0.06)


def test_correlations_are_those_of_scipy(cache: FeatureSet) -> None:
    table = linear_probe.correlations(cache)
    train = cache.load("train")
    kappa, pooled = train.truth[:, 3] / train.truth[:, 2], linear_probe.pooled(train)
    names = list(cache.meta.feature_names)
    assert len(table) == 4 * len(names)
    assert table["rank_correlation"].abs().is_monotonic_decreasing
    for row in table.head(8).itertuples():
        column = linear_probe.STATISTICS.index(row.statistic) * len(names) + names.index(
            row.feature
        )
        theirs = stats.spearmanr(pooled[:, column], kappa).statistic
        assert row.rank_correlation == pytest.approx(theirs)


def test_residuals_have_their_bins() -> None:
    known: Any = Known(True)
    tracks, edges = linear_probe.read_out(known), [5.0, 20.0, 50.0]
    frame = linear_probe.residuals(tracks, edges)
    by_bin = binned(tracks, pt_axis(edges), ["scale_bias", "charge_misid"])
    groups = frame.groupby("low")
    assert groups.size().tolist() == by_bin["n"].tolist()
    np.testing.assert_allclose(groups["rho"].median(), by_bin["scale_bias"])
    np.testing.assert_allclose(groups["wrong_charge"].mean(), by_bin["charge_misid"])
    assert ((frame["low"] <= frame["pt_true"]) & (frame["pt_true"] < frame["high"])).all()


def test_pictures_have_units() -> None:
    known: Any = Known(True)
    tracks, edges = linear_probe.read_out(known), [5.0, 20.0, 200.0, 400.0]
    for figure in (
        track_plots.read_out_figure({"a line": tracks}, edges),
        track_plots.residual_figure(tracks, edges),
    ):
        assert png(figure)[:4] == b"\x89PNG"
        assert all(
            axes.get_ylabel() or not axes.get_subplotspec().is_first_col() for axes in figure.axes
        )
    assert "0 tracks" in figure.axes[-1].get_title()


def test_other_features_of_a_job(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not the folder of a job"):
        linear_probe.feature_sets(tmp_path, tmp_path)
