"""Metrics of tracks: one pure function each, its direction and unit beside it, see ``METRICS``.

Conventions. ``kappa = q / pT`` and ``rho = kappa_pred / kappa_true - 1``. Quantiles are numpy's
default (linear interpolation between order statistics). No tracks give NaN, never an error. A
prediction of NaN never flatters: ``charge_misid`` and ``outlier_fraction`` count it as wrong, every
other metric of that prediction becomes NaN. ``clip_fraction`` reads the flag alone.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headsweep.errors import UserError
from headsweep.stats.margins import Scale
from headsweep.stats.widths import abs68, core, iterative_rms, rms

Array = NDArray[np.float64]
Best = Literal["lower", "higher", "zero", "one"]
"""Best value of a metric: as low or as high as can be, or 0 or 1."""

OUTLIER = 0.5
"""|rho| above which a track is an outlier."""


@dataclass(frozen=True)
class Tracks:
    """Truth and prediction of T tracks, each attribute of shape [T].

    Attributes:
        event: Event number, int64; two tracks of one event are not independent.
        eta_true: True pseudorapidity.
        phi_true: True azimuth in rad.
        pt_true: True transverse momentum in GeV, positive.
        q_true: True charge, +-1.
        eta: Predicted pseudorapidity.
        phi: Predicted azimuth in rad, any branch.
        pt: Predicted transverse momentum in GeV, clipped.
        kappa: Predicted q / pT in 1/GeV; not clipped where the head predicts it directly.
        charge: Raw charge output; its sign is the predicted charge, exactly 0 is wrong.
        clipped: Whether ``pt`` was clipped, bool.
    """

    event: NDArray[np.int64]
    eta_true: Array
    phi_true: Array
    pt_true: Array
    q_true: Array
    eta: Array
    phi: Array
    pt: Array
    kappa: Array
    charge: Array
    clipped: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for field in fields(self):
            shape = getattr(self, field.name).shape
            if shape != (len(self.event),):
                raise ValueError(f"Tracks.{field.name} has shape {shape}, not {self.event.shape}")

    def __len__(self) -> int:
        return len(self.event)

    @classmethod
    def from_estimate(
        cls, event: NDArray[np.int64], truth: NDArray[Any], estimate: NDArray[Any]
    ) -> "Tracks":
        """Tracks of a reference that gives physical values.

        Args:
            event: Event numbers [T].
            truth: True eta, phi, pT in GeV and q, [T, 4].
            estimate: The same four as estimated, [T, 4]; NaN where there is no estimate.
        """
        eta_true, phi_true, pt_true, q_true = np.asarray(truth, dtype=np.float64).T
        eta, phi, pt, charge = np.asarray(estimate, dtype=np.float64).T
        return cls(
            event=np.asarray(event, dtype=np.int64),
            eta_true=eta_true,
            phi_true=phi_true,
            pt_true=pt_true,
            q_true=q_true,
            eta=eta,
            phi=phi,
            pt=pt,
            kappa=np.sign(charge) / pt,
            charge=charge,
            clipped=np.zeros(len(event), dtype=bool),
        )

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Tracks":
        """The tracks of a mask [T] or of row numbers."""
        return Tracks(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Tracks with a finite prediction, [T]."""
        predictions = np.stack([self.eta, self.phi, self.pt, self.kappa, self.charge])
        return np.asarray(np.isfinite(predictions).all(axis=0))

    @property
    def rho(self) -> Array:
        """Relative error of q / pT, [T]: 0 is perfect, about -2 a charge flip."""
        return self.kappa * self.pt_true / self.q_true - 1

    @property
    def wrong_charge(self) -> NDArray[np.bool_]:
        """Tracks whose charge output has the wrong sign or none, [T]."""
        wrong: NDArray[np.bool_] = np.sign(self.charge) != self.q_true
        return wrong


def concatenate(parts: Sequence[Tracks]) -> Tracks:
    """All tracks of several sets, at least one."""
    columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Tracks)}
    return Tracks(**{name: np.concatenate(arrays) for name, arrays in columns.items()})


TrackFunction = Callable[[Tracks], float]


@dataclass(frozen=True)
class Metric:
    """A metric with its direction, unit and scale.

    Attributes:
        name: Its key in tables and files.
        function: From ``Tracks`` to a number; in ``stats/curves.py`` from a training's curves.
        better: ``lower``, ``higher``, or the value that is best: ``zero``, ``one``.
        unit: Unit of the value, empty for a pure number.
        scale: Compared as a ratio (``log``) or as a difference (``plain``).
        residual: One value for each track, [T], where the metric is a function of those alone.
        reduce: That function, over the last axis.
    """

    name: str
    function: Callable[..., float]
    better: Best
    unit: str
    scale: Scale
    residual: Callable[[Tracks], Array] | None = None
    reduce: Callable[[Array], Any] | None = None


METRICS: dict[str, Metric] = {}
"""Every metric that is a function of tracks alone, by name."""


def metric(
    better: Best, *, unit: str = "", scale: Scale = "log"
) -> Callable[[TrackFunction], TrackFunction]:
    """Enter a function of ``Tracks`` into ``METRICS`` under its own name."""

    def register(function: TrackFunction) -> TrackFunction:
        METRICS[function.__name__] = Metric(function.__name__, function, better, unit, scale)
        return function

    return register


def metric_of(
    residual: Callable[[Tracks], Array],
    better: Best,
    *,
    unit: str = "",
    scale: Scale = "log",
) -> Callable[[Callable[[Array], Any]], TrackFunction]:
    """Enter a function of one value a track, [..., T], which reduces the last axis.

    Many predictions of the same tracks can then be taken at once.
    """

    def register(reduce: Callable[[Array], Any]) -> TrackFunction:
        def function(tracks: Tracks) -> float:
            return float(reduce(residual(tracks)))

        name = function.__name__ = reduce.__name__
        function.__doc__ = reduce.__doc__
        METRICS[name] = Metric(name, function, better, unit, scale, residual, reduce)
        return function

    return register


def wrap_phi(difference: Array) -> Array:
    """An angle difference in rad, wrapped into (-pi, pi]."""
    wrapped = np.mod(difference + np.pi, 2 * np.pi) - np.pi
    return np.where(wrapped <= -np.pi, np.pi, wrapped)


def median(values: Array) -> Any:
    """Median over the last axis, NaN of nothing."""
    return np.median(values, axis=-1) if values.shape[-1] else math.nan


def share(mask: NDArray[Any]) -> Any:
    """Share of true entries over the last axis, NaN of nothing."""
    return np.mean(mask, axis=-1) if mask.shape[-1] else math.nan


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


@metric_of(_rho, "lower")
def qoverpt_r68(rho: Array) -> Any:
    """0.6827 quantile of |rho|: the main figure; contains bias and flips."""
    return abs68(rho)


@metric_of(_rho, "lower")
def qoverpt_core(rho: Array) -> Any:
    """Core of rho, for comparison with papers; meaningless where many charges are wrong."""
    return core(rho)


@metric("lower")
def qoverpt_iterative_rms(tracks: Tracks) -> float:
    """Iterative RMS of rho, see ``iterative_rms``."""
    return iterative_rms(tracks.rho)[0]


@metric("lower", scale="plain")
def qoverpt_iterative_cut(tracks: Tracks) -> float:
    """Share of tracks that the iterative RMS of rho cuts away."""
    return iterative_rms(tracks.rho)[1]


@metric("lower")
def qoverpt_iqr(tracks: Tracks) -> float:
    """Interquartile range of rho / 1.349: the deviation of a normal distribution."""
    if not len(tracks):
        return math.nan
    low, high = np.quantile(tracks.rho, [0.25, 0.75])
    return float(high - low) / 1.349


@metric("lower")
def qoverpt_std(tracks: Tracks) -> float:
    """Plain standard deviation of rho; one bad track decides it."""
    return float(np.std(tracks.rho)) if len(tracks) else math.nan


@metric_of(_rho, "zero", scale="plain")
def scale_bias(rho: Array) -> Any:
    """Median of rho; read it per bin."""
    return median(rho)


@metric("zero", unit="1/TeV", scale="plain")
def sagitta_bias(tracks: Tracks) -> float:
    """Median of q rho / pT, the error of kappa, in 1/TeV."""
    return float(median(1000 * tracks.q_true * tracks.rho / tracks.pt_true))


@metric("zero", unit="1/TeV", scale="plain")
def sagitta_bias_plus(tracks: Tracks) -> float:
    """``sagitta_bias`` of the positive tracks."""
    return sagitta_bias(tracks.take(tracks.q_true > 0))


@metric("zero", unit="1/TeV", scale="plain")
def sagitta_bias_minus(tracks: Tracks) -> float:
    """``sagitta_bias`` of the negative tracks."""
    return sagitta_bias(tracks.take(tracks.q_true < 0))


@metric_of(_relative_pt, "lower")
def pt_core(error: Array) -> Any:
    """Core of the relative error of pT."""
    return core(error)


@metric_of(_pt, "lower", unit="GeV")
def pt_rmse(error: Array) -> Any:
    """Root mean square error of pT in GeV; the few highest pT decide it."""
    return rms(error)


@metric_of(_eta, "lower")
def eta_abs68(error: Array) -> Any:
    """0.6827 quantile of the absolute eta error."""
    return abs68(error)


@metric_of(_eta, "lower")
def eta_core(error: Array) -> Any:
    """Core of the eta error."""
    return core(error)


@metric_of(_eta, "lower")
def eta_rmse(error: Array) -> Any:
    """Root mean square eta error."""
    return rms(error)


@metric_of(_phi, "lower", unit="rad")
def phi_abs68(error: Array) -> Any:
    """0.6827 quantile of the absolute phi error, wrapped."""
    return abs68(error)


@metric_of(_phi, "lower", unit="rad")
def phi_core(error: Array) -> Any:
    """Core of the phi error, wrapped."""
    return core(error)


@metric_of(_phi, "lower", unit="rad")
def phi_rmse(error: Array) -> Any:
    """Root mean square phi error, wrapped."""
    return rms(error)


@metric_of(_wrong, "lower", scale="plain")
def charge_misid(wrong: Array) -> Any:
    """Share of tracks with the wrong charge sign."""
    return share(wrong)


@metric("higher", scale="plain")
def charge_auc(tracks: Tracks) -> float:
    """Chance that a positive track has a higher charge output than a negative one.

    The Mann-Whitney U over the product of the numbers; ties count one half. Descriptive, per pT
    bin; not comparable across targets. NaN where one charge is missing or an output is NaN.
    """
    positive = tracks.q_true > 0
    n_plus, n_minus = int(positive.sum()), int((~positive).sum())
    if not n_plus or not n_minus or np.isnan(tracks.charge).any():
        return math.nan
    ranks = pd.Series(tracks.charge).rank().to_numpy()
    return float((ranks[positive].sum() - n_plus * (n_plus + 1) / 2) / (n_plus * n_minus))


@metric("lower", scale="plain")
def outlier_fraction(tracks: Tracks) -> float:
    """Share of tracks with |rho| > 0.5."""
    return float(share(~(np.abs(tracks.rho) <= OUTLIER)))


@metric("lower", scale="plain")
def clip_fraction(tracks: Tracks) -> float:
    """Share of tracks whose pT was clipped."""
    return float(share(tracks.clipped))


def evaluate(tracks: Tracks, names: Iterable[str] | None = None) -> dict[str, float]:
    """The named metrics of the given tracks, or all of them.

    Raises:
        UserError: An unknown metric.
    """
    chosen = list(METRICS if names is None else names)
    if unknown := [name for name in chosen if name not in METRICS]:
        raise UserError(f"unknown metric {', '.join(unknown)}; known: {', '.join(METRICS)}")
    return {name: METRICS[name].function(tracks) for name in chosen}
