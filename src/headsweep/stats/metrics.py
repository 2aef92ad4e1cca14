"""Metrics of tracks: one pure function each, all that is said of it beside it, see ``METRICS``.

A new metric is a function here: tables, pictures, MLflow, margins and ``--metric`` follow.

Conventions. ``kappa = q / pT`` and ``rho = kappa_pred / kappa_true - 1``. Quantiles are numpy's
default (linear interpolation between order statistics). No tracks give NaN, never an error. A
prediction of NaN never flatters: ``charge_misid`` and ``outlier_fraction`` count it as wrong, every
other metric of that prediction becomes NaN. ``clip_fraction`` reads the flag alone.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, Unpack

import numpy as np

from headsweep.errors import UserError
from headsweep.stats.margins import Comparison
from headsweep.stats.metric import Best, Facts, Metric, Place
from headsweep.stats.quantiles import quantile
from headsweep.stats.tracks import Array, Tracks, wrap_phi
from headsweep.stats.widths import abs68, core, iterative_rms, median, rms, share

OUTLIER = 0.5
"""|rho| above which a track is an outlier."""


TrackFunction = Callable[[Tracks], float]

METRICS: dict[str, Metric] = {}
"""Every metric that is a function of tracks alone, by name."""

RATIO = math.log(1.05)
"""Margin of most metrics that are compared as ratios."""

SCORED_LOSSES = {split: f"{split}_loss" for split in ("dev", "test")}
"""Name of the loss on a scored split, with the weights of the lowest validation loss."""

LAST_LOSSES = {split: f"last_{split}_loss" for split in SCORED_LOSSES}
"""Name of the loss on a scored split at the last step."""

_LOSSES = (*SCORED_LOSSES.values(), *LAST_LOSSES.values(), "train_loss", "last_val_loss")

MARGINS = {name: Comparison(RATIO) for name in ("gap", "loss_at_10pct", *_LOSSES)}
"""Default terms of a comparison by metric, for m = 1; one that is not here has no verdict."""


def shown(place: Place) -> list[str]:
    """Names of the metrics of a table, in the order of their definitions."""
    return [metric.name for metric in METRICS.values() if place in metric.tables]


def binned_metrics() -> list[str]:
    """Names of the metrics that are also taken per bin."""
    return [metric.name for metric in METRICS.values() if metric.binned]


def _enter(entry: Metric) -> None:
    METRICS[entry.name] = entry
    if entry.margin is not None:
        better: Literal["lower", "higher"] = "higher" if entry.better == "higher" else "lower"
        MARGINS[entry.name] = Comparison(entry.margin, entry.scale, better)


def metric(better: Best, **facts: Unpack[Facts]) -> Callable[[TrackFunction], TrackFunction]:
    """Enter a function of ``Tracks`` into ``METRICS`` under its own name."""

    def register(function: TrackFunction) -> TrackFunction:
        _enter(Metric(function.__name__, function, better, **facts))
        return function

    return register


def metric_of(
    residual: Callable[[Tracks], Array], better: Best, **facts: Unpack[Facts]
) -> Callable[[Callable[[Array], Any]], TrackFunction]:
    """Enter a function of one value a track, [..., T], which reduces the last axis.

    Many predictions of the same tracks can then be taken at once.
    """

    def register(reduce: Callable[[Array], Any]) -> TrackFunction:
        def function(tracks: Tracks) -> float:
            return float(reduce(residual(tracks)))

        name = function.__name__ = reduce.__name__
        function.__doc__ = reduce.__doc__
        _enter(Metric(name, function, better, residual=residual, reduce=reduce, **facts))
        return function

    return register


def _rho(tracks: Tracks) -> Array:
    return tracks.rho


def _pt(tracks: Tracks) -> Array:
    return tracks.pt - tracks.pt_true


def _relative_pt(tracks: Tracks) -> Array:
    return tracks.pt / tracks.pt_true - 1


def _eta(tracks: Tracks) -> Array:
    return tracks.eta - tracks.eta_true


def _phi(tracks: Tracks) -> Array:
    return wrap_phi(tracks.phi - tracks.phi_true)


def _wrong(tracks: Tracks) -> Array:
    return tracks.wrong_charge.astype(np.float64)


@metric_of(
    _rho,
    "lower",
    words="r68 of q/pT",
    margin=RATIO,
    tables=("main", "pt", "abs_eta", "stations"),
    binned=True,
)
def qoverpt_r68(rho: Array) -> Any:
    """0.6827 quantile of |rho|: the main figure; contains bias and flips."""
    return abs68(rho)


@metric_of(
    _rho, "lower", words="r95 / r68 of q/pT", tables=("tails", "pt", "stations"), binned=True
)
def qoverpt_r95_r68(rho: Array) -> Any:
    """0.95 quantile of |rho| over its 0.6827 quantile: 1.96 of a normal distribution."""
    if not rho.shape[-1]:
        return math.nan
    with np.errstate(divide="ignore", invalid="ignore"):  # of perfect predictions
        return np.divide(quantile(np.abs(rho), 0.95), abs68(rho))


@metric_of(_rho, "lower", margin=RATIO, tables=("collider",), binned=True)
def qoverpt_core(rho: Array) -> Any:
    """Core of rho, for comparison with papers; meaningless where many charges are wrong."""
    return core(rho)


@metric("lower", margin=RATIO, tables=("collider",))
def qoverpt_iterative_rms(tracks: Tracks) -> float:
    """Iterative RMS of rho, see ``iterative_rms``."""
    return iterative_rms(tracks.rho)[0]


@metric("lower", unit="%", scale="plain", tables=("collider",))
def qoverpt_iterative_cut(tracks: Tracks) -> float:
    """Share of tracks that the iterative RMS of rho cuts away."""
    return iterative_rms(tracks.rho)[1]


@metric("lower", margin=RATIO, tables=("collider",))
def qoverpt_iqr(tracks: Tracks) -> float:
    """Interquartile range of rho / 1.349: the deviation of a normal distribution."""
    if not len(tracks):
        return math.nan
    low, high = np.quantile(tracks.rho, [0.25, 0.75])
    return float(high - low) / 1.349


@metric("lower", margin=RATIO, tables=("collider",))
def qoverpt_std(tracks: Tracks) -> float:
    """Plain standard deviation of rho; one bad track decides it."""
    return float(np.std(tracks.rho)) if len(tracks) else math.nan


@metric_of(
    _rho,
    "zero",
    words="median q/pT error",
    scale="plain",
    margin=0.005,
    tables=("pt",),
    binned=True,
)
def scale_bias(rho: Array) -> Any:
    """Median of rho; read it per bin."""
    return median(rho)


@metric("zero", unit="1/TeV", scale="plain", binned=True)
def sagitta_bias(tracks: Tracks) -> float:
    """Median of q rho / pT, the error of kappa, in 1/TeV."""
    return float(median(1000 * tracks.q_true * tracks.rho / tracks.pt_true))


@metric("zero", unit="1/TeV", scale="plain", tables=("collider",), binned=True)
def sagitta_bias_plus(tracks: Tracks) -> float:
    """``sagitta_bias`` of the positive tracks."""
    return sagitta_bias(tracks.take(tracks.q_true > 0))


@metric("zero", unit="1/TeV", scale="plain", tables=("collider",), binned=True)
def sagitta_bias_minus(tracks: Tracks) -> float:
    """``sagitta_bias`` of the negative tracks."""
    return sagitta_bias(tracks.take(tracks.q_true < 0))


@metric_of(_relative_pt, "lower", margin=RATIO, tables=("collider",))
def pt_core(error: Array) -> Any:
    """Core of the relative error of pT."""
    return core(error)


@metric_of(
    _eta,
    "lower",
    words="eta error (68%)",
    margin=RATIO,
    tables=("main", "pt", "abs_eta", "stations"),
    binned=True,
)
def eta_abs68(error: Array) -> Any:
    """0.6827 quantile of the absolute eta error."""
    return abs68(error)


@metric_of(_eta, "lower", margin=RATIO)
def eta_core(error: Array) -> Any:
    """Core of the eta error."""
    return core(error)


@metric_of(_eta, "lower", margin=RATIO)
def eta_rmse(error: Array) -> Any:
    """Root mean square eta error."""
    return rms(error)


@metric_of(
    _phi,
    "lower",
    words="phi error (68%)",
    unit="rad",
    margin=RATIO,
    tables=("main", "pt", "stations"),
    binned=True,
)
def phi_abs68(error: Array) -> Any:
    """0.6827 quantile of the absolute phi error, wrapped."""
    return abs68(error)


@metric_of(_phi, "lower", unit="rad", margin=RATIO)
def phi_core(error: Array) -> Any:
    """Core of the phi error, wrapped."""
    return core(error)


@metric_of(_phi, "lower", unit="rad", margin=RATIO)
def phi_rmse(error: Array) -> Any:
    """Root mean square phi error, wrapped."""
    return rms(error)


@metric_of(
    _wrong,
    "lower",
    words="wrong charge",
    unit="%",
    scale="plain",
    margin=0.002,
    tables=("main", "pt", "abs_eta", "stations"),
    binned=True,
)
def charge_misid(wrong: Array) -> Any:
    """Share of tracks with the wrong charge sign."""
    return share(wrong)


@metric("higher", scale="plain", binned=True)
def charge_auc(tracks: Tracks) -> float:
    """Chance that a positive track has a higher charge output than a negative one.

    The Mann-Whitney U over the product of the numbers; ties count one half. Descriptive, per pT
    bin; not comparable across targets. NaN where one charge is missing or an output is NaN.
    """
    positive = tracks.q_true > 0
    n_plus, n_minus = int(positive.sum()), int((~positive).sum())
    if not n_plus or not n_minus or np.isnan(tracks.charge).any():
        return math.nan
    import pandas as pd  # as fast as scipy's ranks, and loaded where a report is

    ranks = pd.Series(tracks.charge).rank().to_numpy()
    return float((ranks[positive].sum() - n_plus * (n_plus + 1) / 2) / (n_plus * n_minus))


@metric_of(_pt, "lower", unit="GeV", margin=RATIO, tables=("main",))
def pt_rmse(error: Array) -> Any:
    """Root mean square error of pT in GeV; the few highest pT decide it."""
    return rms(error)


@metric("lower", unit="%", scale="plain", tables=("tails",), binned=True)
def outlier_fraction(tracks: Tracks) -> float:
    """Share of tracks with |rho| > 0.5."""
    return float(share(~(np.abs(tracks.rho) <= OUTLIER)))


@metric("lower", unit="%", scale="plain", tables=("main", "tails"))
def clip_fraction(tracks: Tracks) -> float:
    """Share of tracks whose pT was clipped."""
    return float(share(tracks.clipped))


def _uncertainty(name: str, of: str, sigma: str, residual: Callable[[Tracks], Array]) -> None:
    """Enter the width of the pulls of a quantity, and their coverage; NaN without uncertainties."""

    def pull(tracks: Tracks) -> Array:
        width = getattr(tracks, sigma)
        known: Array = np.full(len(tracks), np.nan) if width is None else width
        return residual(tracks) / known

    def coverage(pull: Array) -> Any:
        return share(np.where(np.isnan(pull), np.nan, np.abs(pull) <= 1))

    def width(pull: Array) -> Any:
        return abs68(pull)

    width.__name__, coverage.__name__ = f"{name}_pull_r68", f"{name}_coverage"
    width.__doc__ = f"0.6827 quantile of |{of} error| / uncertainty; above 1 it is too small."
    coverage.__doc__ = f"Share of tracks whose {of} error is at most the uncertainty."
    metric_of(pull, "one", tables=("uncertainty",))(width)
    metric_of(pull, "0.6827", unit="%", scale="plain", tables=("uncertainty",))(coverage)


_uncertainty("eta", "eta", "eta_sigma", _eta)
_uncertainty("phi", "phi", "phi_sigma", _phi)
_uncertainty("qoverpt", "q/pT", "kappa_sigma", lambda t: t.kappa - t.q_true / t.pt_true)


def evaluate(tracks: Tracks, names: Iterable[str] | None = None) -> dict[str, float]:
    """The named metrics of the given tracks, or all that apply to them.

    Raises:
        UserError: An unknown metric.
    """
    every = (name for name, metric in METRICS.items() if metric.applies(tracks))
    chosen = list(every if names is None else names)
    if unknown := [name for name in chosen if name not in METRICS]:
        raise UserError(f"unknown metric {', '.join(unknown)}; known: {', '.join(METRICS)}")
    return {name: METRICS[name].function(tracks) for name in chosen}
