"""The trainings of each configuration compared with those of the first: no verdicts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headsweep.report.predictions import HeadRow
from headsweep.stats.curves import steps_to
from headsweep.stats.spread import permutation_p
from headsweep.stats.tracks import Array


@dataclass(frozen=True)
class TrainingComparison:
    """The members of a configuration compared with those of the control.

    Attributes:
        label: Whose they are.
        steps_to_control: Share of all steps after which the validation loss of each member first
            reaches the mean last loss of the control, infinite where it never does; empty where
            the losses are not of the same target, kind and events.
        spikes_p: Two-sided p-value of as many loss spikes as the control has, by permutation of
            the seeds and not adjusted; NaN below two seeds.
    """

    label: str
    steps_to_control: tuple[float, ...]
    spikes_p: float


def compare_trainings(
    rows: Sequence[HeadRow], rng: np.random.Generator
) -> list[TrainingComparison]:
    """Compare the trainings of all configurations with those of the first.

    Those without finished members are left out. Folds differ in their events, not only in their
    seeds: cross-validated configurations are not compared.

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
        TrainingComparison(
            row.label, _steps(row, control, level), permutation_p(_spikes(row), spikes, rng)
        )
        for row in rows[1:]
        if row.samples
    ]


def _steps(row: HeadRow, control: HeadRow, level: float) -> tuple[float, ...]:
    if row.loss != control.loss or not row.shares_tracks(control) or math.isnan(level):
        return ()
    return tuple(
        steps_to(level, curve["step"].to_numpy(), curve["val_loss"].to_numpy())
        for curve in row.curves
    )


def _spikes(row: HeadRow) -> Array:
    return np.array([sample.scalars["loss_spikes"] for sample in row.samples])
