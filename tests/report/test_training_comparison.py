"""Trainings beside those of the control: steps worked out by hand, spikes by permutation."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from headsweep.report.predictions import HeadRow, Sample
from headsweep.report.training_comparison import compare_trainings
from headsweep.stats.tracks import Tracks
from headsweep.store.labels import Block, loss_key
from helpers.head_rows import make_head_row

STEPS = [0, 100, 200]
NO_TRACKS = Tracks.from_estimate(
    np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros((0, 4))
)


def row(
    label: str,
    losses: Sequence[Sequence[float]],
    spikes: Sequence[float] = (),
    target: str = "plain",
) -> HeadRow:
    """A configuration with a member for each curve."""
    samples = [
        Sample(
            NO_TRACKS,
            np.zeros(0, bool),
            {"last_val_loss": own[-1], "loss_spikes": spikes[k] if spikes else 0.0},
            Block(0, 0),
            k,
        )
        for k, own in enumerate(losses)
    ]
    curves = tuple(pd.DataFrame({"step": STEPS, "val_loss": own}) for own in losses)
    return make_head_row(label, samples, curves=curves, loss=loss_key({"target": {"name": target}}))


def test_steps_to_the_mean_last_loss_of_the_control() -> None:
    control = row("control", [[1.0, 0.5, 0.3], [1.0, 0.5, 0.5]])  # ends at 0.4 on average
    arm = row("arm", [[1.0, 0.4, 0.1], [1.0, 0.6, 0.2], [1.0, 0.6, 0.5]])
    (found,) = compare_trainings([control, arm], np.random.default_rng(0))
    assert found.label == "arm"
    # At the half; half-way between the half and the end; never.
    assert found.steps_to_control == pytest.approx((0.5, 0.75, math.inf))


def test_losses_of_another_target_are_not_compared() -> None:
    control = row("control", [[1.0, 0.5, 0.3]])
    (found,) = compare_trainings(
        [control, row("arm", [[1.0, 0.4, 0.1]], target="log_pt")], np.random.default_rng(0)
    )
    assert found.steps_to_control == ()
    assert math.isnan(found.spikes_p)


def test_other_events_and_folds_are_not_compared() -> None:
    control, arm = row("control", [[1.0, 0.5, 0.3]] * 3), row("arm", [[1.0, 0.4, 0.1]] * 3)
    others = Tracks.from_estimate(
        np.arange(2), np.ones((2, 4), np.float32), np.ones((2, 4), np.float32)
    )
    elsewhere = replace(arm, samples=[replace(sample, tracks=others) for sample in arm.samples])
    (found,) = compare_trainings([control, elsewhere], np.random.default_rng(0))
    assert (found.steps_to_control, found.spikes_p) == ((), 1.0)
    folded = [replace(own, folds=5) for own in (control, arm)]
    assert compare_trainings(folded, np.random.default_rng(0)) == []


def test_spikes_far_apart_and_alike() -> None:
    flat = [[1.0, 0.5, 0.3]] * 8
    control = row("control", flat, [0.0, 0.3] * 4)
    rows = [control, row("wild", flat, [5.0, 6.0] * 4), row("alike", flat, [0.3, 0.0] * 4)]
    wild, alike = compare_trainings(rows, np.random.default_rng(0))
    assert wild.spikes_p < 0.001
    assert alike.spikes_p == 1.0


def test_nothing_is_beside_a_control_without_members() -> None:
    empty, arm = row("control", []), row("arm", [[1.0, 0.5, 0.3]])
    assert compare_trainings([empty, arm], np.random.default_rng(0)) == []
    (found,) = compare_trainings([arm, empty, arm], np.random.default_rng(0))
    assert found.label == "arm"
