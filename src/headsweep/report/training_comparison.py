"""The trainings of each configuration beside those of the first one: descriptive, no verdicts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headsweep.report.predictions import Row
from headsweep.stats.curves import steps_to
from headsweep.stats.metrics import Array
from headsweep.stats.spread import permutation_p


@dataclass(frozen=True)
class Training:
    """The members of a configuration beside those of the control.

    Attributes:
        label: Whose they are.
        steps_to_control: Share of all steps after which the validation loss of each member first
            reaches the mean last loss of the control, infinite where it never does; empty where
            the losses are not of the same target and events.
        spikes_p: Two-sided p-value of as many loss spikes as the control has, by permutation of
            the seeds and not adjusted; NaN below two seeds.
    """

    label: str
    steps_to_control: tuple[float, ...]
    spikes_p: float


def beside_control(rows: Sequence[Row], rng: np.random.Generator) -> list[Training]:
    """All configurations but the first beside the first; those without finished members left out.

    Folds differ in their events, not only in their seeds: of cross-validated ones there are none.

    Args:
        rows: The configurations, the control first.
        rng: Drives the permutations.
    """
    if not rows or not rows[0].samples or any(row.folds for row in rows):
        return []
    control = rows[0]
    level = float(np.mean([sample.scalars["last_val_loss"] for sample in control.samples]))
    spikes = _spikes(control)
    return [
        Training(row.label, _steps(row, control, level), permutation_p(_spikes(row), spikes, rng))
        for row in rows[1:]
        if row.samples
    ]


def _steps(row: Row, control: Row, level: float) -> tuple[float, ...]:
    if row.losses != control.losses or not row.shares_tracks(control) or math.isnan(level):
        return ()
    return tuple(
        steps_to(level, curve["step"].to_numpy(), curve["val_loss"].to_numpy())
        for curve in row.curves
    )


def _spikes(row: Row) -> Array:
    return np.array([sample.scalars["loss_spikes"] for sample in row.samples])
