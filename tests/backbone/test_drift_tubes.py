"""Tangent support of tubes against a loop over pairs and their tangents."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from headsweep.backbone.drift_tubes import COLUMNS, CROWDED, N_VALUES, TOUCH_WIDTHS, tangent_support
from headsweep.events.base import Events


def chamber(wires: np.ndarray, drift: np.ndarray, **other: np.ndarray) -> Events:
    """One event of tubes at the given (r, z), m, all in one chamber unless columns say otherwise.

    ``event`` in ``other`` spreads the tubes over events; it must rise.
    """
    n = len(wires)
    columns = {
        "globEdgeLowX": wires[:, 0] * np.cos(0.3),
        "globEdgeLowY": wires[:, 0] * np.sin(0.3),
        "globEdgeLowZ": wires[:, 1],
        "driftR": drift * 1e3,
        "stationPhi": np.ones(n),
        "stationEta": np.ones(n),
        "stationIndex": np.zeros(n),
        "technology": np.zeros(n),
    } | other
    event = columns.pop("event", np.zeros(n, int))
    n_events = event.max() + 1
    return Events(
        hits=np.stack([columns[name] for name in COLUMNS], 1).astype(np.float32),
        features=COLUMNS,
        hit_track=np.full(n, -1, np.int32),
        hit_offsets=np.searchsorted(event, np.arange(n_events + 1)),
        tracks=np.zeros((n_events, 4), np.float32),
        track_offsets=np.arange(n_events + 1),
        ids=np.arange(n_events),
    )


def six_tubes(slope: float) -> tuple[np.ndarray, np.ndarray]:
    """Wires (r, z) within 15 mm of a line through six layers, and their drift radii."""
    u = np.array([-0.152, -0.126, -0.1, 0.1, 0.126, 0.152])
    offset = np.array([0.004, -0.012, 0.007, -0.003, 0.011, -0.014])
    angle = np.arctan(slope)
    line = np.stack([5 + u, 2 + slope * u], 1)
    return line + offset[:, None] * [-np.sin(angle), np.cos(angle)], np.abs(offset)


@pytest.mark.parametrize("slope", [0.0, 0.4, -2.0])
def test_a_hidden_tube_loses_its_support(slope: float) -> None:
    wires, drift = six_tubes(slope)
    good = tangent_support(chamber(wires, drift))
    # Of the ten pairs of other tubes at most two are too far away; each has a right tangent.
    assert (np.expm1(good[:, -1]) > 7.9).all()
    assert (np.expm1(good[:, 0]) > np.expm1(good[:, -1]) - 0.1).all()
    drift[1] *= 0.4
    spoilt = tangent_support(chamber(wires, drift))
    assert np.expm1(spoilt[1, 0]) < 3
    assert (np.delete(spoilt[:, 0], 1) > spoilt[1, 0] + 0.5).all()


def tangents(
    c1: np.ndarray, r1: float, c2: np.ndarray, r2: float
) -> Iterator[tuple[np.ndarray, float]]:
    """Common tangents n.x = c of two circles, by solving for the angle of the normal."""
    gap = c2 - c1
    for s1, s2 in product((-1, 1), repeat=2):
        ratio = (s2 * r2 - s1 * r1) / np.hypot(*gap)
        if abs(ratio) < 1:
            angle = np.arctan2(gap[1], gap[0]) + np.arccos(ratio)
            normal = np.array([np.cos(angle), np.sin(angle)])
            yield normal, normal @ c1 - s1 * r1


def test_it_equals_a_loop_over_pairs_and_their_tangents() -> None:
    rng = np.random.default_rng(4)
    wires = np.stack([rng.uniform(5, 5.3, 7), rng.uniform(2, 2.1, 7)], 1)
    drift = rng.uniform(0, 0.015, 7)
    events = chamber(wires, drift)
    # As they are in float32, which is good to about a micrometre here.
    radius = events.column("driftR").astype(float) * 1e-3
    x, y, z = (events.column(f"globEdgeLow{axis}").astype(float) for axis in "XYZ")
    wires = np.stack([np.hypot(x, y), z], 1)
    want = np.zeros((7, N_VALUES))
    for i in range(7):
        for j, k in combinations([n for n in range(7) if n != i], 2):
            gap = wires[k] - wires[j]
            where = (wires[i] - wires[j]) @ gap / (gap @ gap)
            lever = np.sqrt(1 + where**2 + (1 - where) ** 2)
            if np.hypot(*gap) <= 0.02 or lever >= 8:
                continue
            want[i, -1] += 1
            for normal, c in tangents(wires[j], radius[j], wires[k], radius[k]):
                miss = (abs(normal @ wires[i] - c) - radius[i]) / lever
                want[i, :-1] += np.exp(-0.5 * (miss / np.array(TOUCH_WIDTHS)) ** 2)
    assert want[:, -1].min() > 0
    np.testing.assert_allclose(tangent_support(events), np.log1p(want), rtol=1e-4, atol=1e-6)


def test_only_tubes_of_the_same_chamber_and_event_count() -> None:
    wires, drift = six_tubes(0.3)
    alone = tangent_support(chamber(wires, drift))
    twice, radii = np.tile(wires, (2, 1)), np.tile(drift, 2)
    second = np.repeat([0.0, 1.0], 6)
    for apart in (
        {"event": second.astype(int)},
        {"stationIndex": second},
        {"stationPhi": second},
        {"stationEta": 1 - 2 * second},
    ):
        support = tangent_support(chamber(twice, radii, **apart))
        np.testing.assert_allclose(support, np.tile(alone, (2, 1)), rtol=1e-5)
    trigger = tangent_support(chamber(twice, radii, technology=second))
    np.testing.assert_allclose(trigger[:6], alone, rtol=1e-5)
    assert not trigger[6:].any()


def test_few_many_or_no_tubes_say_nothing() -> None:
    wires, drift = six_tubes(0.3)
    assert not tangent_support(chamber(wires[:2], drift[:2])).any()
    crowd = np.random.default_rng(0).uniform(1, 2, (CROWDED + 1, 2))
    assert not tangent_support(chamber(crowd, np.full(CROWDED + 1, 0.01))).any()
    none = chamber(wires, drift, technology=np.ones(6))
    assert not tangent_support(none).any()
    same_place = tangent_support(chamber(np.ones((4, 2)), np.full(4, 0.01)))
    assert np.isfinite(same_place).all()


def test_the_order_of_the_hits_does_not_matter() -> None:
    wires, drift = six_tubes(0.3)
    order = np.random.default_rng(0).permutation(6)
    events = chamber(wires, drift)
    shuffled = replace(events, hits=events.hits[order])
    np.testing.assert_allclose(tangent_support(shuffled), tangent_support(events)[order], rtol=1e-5)
