"""The reasons for which two configurations get no verdict."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from headsweep.report.obstacle import (
    NO_INFORMATION,
    NO_ZERO,
    OTHER_EVENTS,
    OTHER_LOSSES,
    OTHER_TRACKS,
    obstacle,
    predictions_obstacle,
)
from headsweep.report.predictions import HeadRow, Sample
from headsweep.stats.metrics import SCORED_LOSSES
from headsweep.stats.tracks import Tracks
from headsweep.store.labels import Block, loss_key
from helpers.head_rows import make_head_row
from helpers.toy_runs import smear

R68 = "qoverpt_r68"
DEV_LOSS = SCORED_LOSSES["dev"]


def row(label: str, width: float = 0.1, **more: object) -> HeadRow:
    """Three members whose errors of q/pT are normal, two tracks an event."""
    rng, n = np.random.default_rng(0), 400
    pt, q = np.exp(rng.uniform(1, 5, n)), np.where(np.arange(n) % 2, 1.0, -1.0)
    truth = np.stack([rng.uniform(-2, 2, n), rng.uniform(-3, 3, n), pt, q], axis=1)
    samples = []
    for seed in range(3):
        tracks = Tracks.from_estimate(np.arange(n) // 2, truth, smear(truth, width, seed))
        everyone = np.ones(n, dtype=bool)
        samples.append(Sample(tracks, everyone, {}, Block(0, 0), seed, "events"))
    return make_head_row(label, samples, **more)


def keeping(found: HeadRow, kept: NDArray[np.bool_]) -> HeadRow:
    samples = [
        replace(one, tracks=one.tracks.take(kept), common=one.common[kept]) for one in found.samples
    ]
    return replace(found, samples=samples)


def test_two_that_share_all_have_none() -> None:
    assert obstacle(R68, row("a"), row("b"), {}) == ""
    assert obstacle(DEV_LOSS, row("a"), row("b"), {}) == ""


def test_an_objection_to_one_is_one_to_the_pair() -> None:
    assert obstacle(R68, row("a"), row("b"), {"b": "not converged"}) == "b: not converged"
    assert obstacle(R68, row("a"), row("b"), {"c": "not converged"}) == ""


def test_members_are_needed() -> None:
    assert "b has no finished member" in obstacle(R68, row("a"), replace(row("b"), samples=[]), {})


def test_an_arm_cannot_win_by_dropping_tracks() -> None:
    half = keeping(row("b"), np.arange(400) % 2 == 0)
    assert "50% of all are common" in obstacle(R68, half, row("a"), {})
    few = keeping(row("b"), np.arange(400) % 50 != 0)
    assert obstacle(R68, few, row("a"), {}) == ""
    assert obstacle(DEV_LOSS, few, row("a"), {}) == OTHER_TRACKS


def test_other_events_and_folds_are_named() -> None:
    other = row("b")
    other = replace(other, samples=[replace(one, events="others") for one in other.samples])
    assert obstacle(R68, row("a"), other, {}) == OTHER_EVENTS
    assert "cross-validated" in obstacle(R68, row("a"), replace(row("b"), folds=5), {})


@pytest.mark.parametrize(
    ("metric", "blind"), [(R68, True), ("pt_rmse", True), ("eta_abs68", False)]
)
def test_without_information_nothing_is_said_of_pt_but_of_eta(metric: str, blind: bool) -> None:
    reason = f"b: {NO_INFORMATION}" if blind else ""
    assert predictions_obstacle(metric, row("a"), row("b", width=1.5), {}) == reason


def test_losses_are_compared_where_they_are_of_one_kind_and_have_a_zero() -> None:
    of_log = loss_key({"target": {"name": "log_pt"}})
    gaussian = loss_key({"target": {"name": "plain"}, "loss": {"name": "gaussian"}})
    assert obstacle(DEV_LOSS, row("a"), row("b", loss=of_log), {}) == OTHER_LOSSES
    assert obstacle("gap", row("a"), row("b", loss=of_log), {}) == ""
    assert obstacle("gap", row("a"), row("b", loss=gaussian), {}) == NO_ZERO
    assert obstacle(R68, row("a"), row("b", loss=gaussian), {}) == ""
