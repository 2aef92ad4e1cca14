"""What the seeds of a configuration have in common: tracks that all get wrong, and their average.

Both are of these very seeds. They say nothing of new ones and enter no verdict.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from headsweep.report.confirmation import Change
from headsweep.report.predictions import Row
from headsweep.report.resampling import event_values, values_of
from headsweep.stats.intervals import CONFIDENCE, Estimate
from headsweep.stats.metrics import MARGINS, METRICS, OUTLIER
from headsweep.stats.tracks import Array, Tracks
from headsweep.stats.welch import on_scale

AVERAGED = ("qoverpt_r68", "eta_abs68", "charge_misid")
"""Metrics of a seed average."""

RESAMPLES = 200
"""Resamples of events: enough for a standard error, see Efron and Tibshirani (1993), chapter 6."""


@dataclass(frozen=True)
class Agreement:
    """Shares of tracks that several trainings get wrong.

    Attributes:
        label: The configuration, or ``all heads``.
        seeds: Trainings that are counted.
        wrong_charge: Share of the tracks whose charge all get wrong.
        one_wrong_charge: Share that one of them gets wrong, on average.
        far: Share with |rho| above ``OUTLIER`` in all.
        one_far: Share in one of them, on average.
    """

    label: str
    seeds: int
    wrong_charge: float
    one_wrong_charge: float
    far: float
    one_far: float


@dataclass(frozen=True)
class AverageFigure:
    """One metric of a seed average.

    Attributes:
        metric: Its name.
        single: Mean of the metric over the single seeds.
        averaged: The metric of the average; its interval is from resampled events.
        change: From the single seeds to the average, on the same resamples.
    """

    metric: str
    single: float
    averaged: Estimate
    change: Change


@dataclass(frozen=True)
class SeedAverage:
    """The average of a configuration's seeds: its label, their number, and the figures."""

    label: str
    seeds: int
    figures: tuple[AverageFigure, ...]


def find_agreement(rows: Sequence[Row]) -> list[Agreement]:
    """Of each configuration with two seeds or more, and of all on the same tracks together."""
    several = _several(rows)
    found = [_agreement(row.label, [row]) for row in several]
    same = [row for row in several if row.shares_tracks(several[0])]
    return [*found, _agreement("all heads", same)] if len(same) > 1 else found


def _agreement(label: str, rows: Sequence[Row]) -> Agreement:
    tracks = [sample.tracks for row in rows for sample in row.samples]
    wrong = np.stack([own.wrong_charge for own in tracks])
    far = np.stack([~(np.abs(own.rho) <= OUTLIER) for own in tracks])
    shares = [float(share) for w in (wrong, far) for share in (w.all(axis=0).mean(), w.mean())]
    return Agreement(label, len(tracks), *shares)


def average(tracks: Sequence[Tracks]) -> Tracks:
    """The mean prediction of several trainings for the same tracks.

    Means of q/pT and eta, the circular mean of phi; the charge is the sign of the mean q/pT. In
    q/pT seeds that disagree on a charge average to a straight track, and errors are symmetric.
    """
    kappa = np.mean([own.kappa for own in tracks], axis=0)
    angles = np.stack([own.phi for own in tracks])
    with np.errstate(divide="ignore"):
        pt = 1 / np.abs(kappa)
    return replace(
        tracks[0],
        eta=np.mean([own.eta for own in tracks], axis=0),
        phi=np.arctan2(np.sin(angles).mean(axis=0), np.cos(angles).mean(axis=0)),
        pt=pt,
        kappa=kappa,
        charge=kappa,
        clipped=np.zeros(len(kappa), dtype=bool),
        eta_sigma=None,
        phi_sigma=None,
        kappa_sigma=None,
    )


def find_averages(rows: Sequence[Row], rng: np.random.Generator) -> list[SeedAverage]:
    """The seed average of each configuration with two seeds or more.

    Args:
        rows: The configurations.
        rng: Drives the bootstrap over events, the same for every metric.
    """
    several = _several(rows)
    both = [_with_average(row) for row in several]
    tables = {name: event_values(both, name, deepcopy(rng), RESAMPLES) for name in AVERAGED}
    return [
        SeedAverage(
            row.label,
            len(row.samples) - 1,
            tuple(_figure(name, row, tables[name][row.label]) for name in AVERAGED),
        )
        for row in both
    ]


def _several(rows: Sequence[Row]) -> list[Row]:
    """Configurations with two seeds or more on the same tracks, as folds do not have."""
    return [row for row in rows if row.folds is None and len(row.samples) > 1]


def _with_average(row: Row) -> Row:
    """The average of a configuration, then its seeds."""
    mean = replace(row.samples[0], tracks=average([sample.tracks for sample in row.samples]))
    return Row(row.label, None, [mean, *row.samples])


def _figure(name: str, row: Row, events: Array) -> AverageFigure:
    """A metric of the average and its change; ``events`` is [R, 1 + seeds], on its scale."""
    scale, values = MARGINS[name].scale, values_of(row.samples, name)
    width = float(ndtri((1 + CONFIDENCE) / 2))
    resampled = np.exp(events[:, 0]) if scale == "log" else events[:, 0]
    averaged = Estimate(
        METRICS[name].function(row.samples[0].tracks),
        width * float(np.std(resampled, ddof=1)),
        len(values) - 1,
    )
    scaled = on_scale(values, scale, row.label)
    delta = float(scaled[0] - scaled[1:].mean())
    half = width * float(np.std(events[:, 0] - events[:, 1:].mean(axis=1), ddof=1))
    change = Change(delta, delta - half, delta + half, scale)
    return AverageFigure(name, float(values[1:].mean()), averaged, change)
