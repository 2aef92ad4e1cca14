"""Simulated hits against the drawn muons and the stated resolutions."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headsweep.events import simulation
from headsweep.events.detector import (
    STATIONS,
    propagate,
)
from headsweep.events.hepattn_files import HITS, MDT, RPC, Chunk
from headsweep.events.simulation import (
    DELTA_RAY,
    DRIFT_SIGMA,
    EFFICIENCY,
    MASKED,
    SIMULATION_VERSION,
    SURFACES,
    TUBE,
    draw_muons,
    measure,
    simulate_chunks,
)
from helpers.toy_muons import muons_at, uniform


@pytest.fixture(scope="module")
def chunk() -> Chunk:
    return next(simulate_chunks(500, seed=5))


def test_drift_radius_is_the_smeared_distance_of_wire_and_track() -> None:
    rng = np.random.default_rng(3)
    muons = draw_muons(3000, rng)
    crossings = propagate(muons, field=uniform(0.0))
    hits = measure(crossings, rng)
    hits = hits[(SURFACES.technology[hits["surface"]] == MDT) & (hits["link"] == 0)]
    station = SURFACES.station[hits["surface"]]
    barrel = np.array([s.barrel for s in STATIONS])[station]
    depth = np.array([s.at for s in STATIONS])[station] + SURFACES.depth[hits["surface"]]
    r, z = np.where(barrel, (depth, hits["along"]), (hits["along"], hits["side"] * depth))
    theta = 2 * np.arctan(np.exp(-muons.eta[hits["owner"]]))
    z0 = muons.vertex[2, hits["owner"]]
    distance = np.abs(r * np.cos(theta) - (z - z0) * np.sin(theta))
    assert distance.max() < TUBE / 2 + 1e-4
    pull = (hits["drift"] - distance)[(distance > 1e-3) & (distance < TUBE / 2 - 1e-3)]
    assert pull.std() == pytest.approx(DRIFT_SIGMA, rel=0.03)
    assert pull.mean() == pytest.approx(0, abs=5e-6)


def test_efficiency_and_delta_rays() -> None:
    rng = np.random.default_rng(4)
    crossings = propagate(muons_at(100.0, 1.0, 0.3, rng.uniform(-3, 3, 2000)))
    hits = measure(crossings, rng)
    tube = SURFACES.technology[hits["surface"]] == MDT
    assert tube.sum() / (18 * 2000) == pytest.approx(EFFICIENCY, abs=0.005)
    masked = hits["link"] == DELTA_RAY
    assert masked[tube].mean() == pytest.approx(MASKED, abs=0.005)
    assert not masked[~tube].any()
    # Nearer to the wire: uniform between 0 and the hidden radius, hence half of it on average.
    hidden, true = hits["drift"][masked], hits["drift"][tube & ~masked]
    assert hidden.mean() == pytest.approx(true.mean() / 2, rel=0.05)


def test_true_trigger_hits_measure_phi_to_a_centimetre() -> None:
    rng = np.random.default_rng(6)
    muons = muons_at(200.0, 1.0, 0.2, np.full(3000, 0.5))
    hits = measure(propagate(muons), rng)
    hits = hits[SURFACES.technology[hits["surface"]] == RPC]
    r = np.array([s.at for s in STATIONS])[SURFACES.station[hits["surface"]]]
    r = r + SURFACES.depth[hits["surface"]]
    assert ((hits["phi"] - 0.5) * r).std() == pytest.approx(0.01, rel=0.05)


def test_same_seed_same_events_bit_for_bit(chunk: Chunk) -> None:
    again = next(simulate_chunks(500, seed=5))
    other = next(simulate_chunks(500, seed=6))
    for name in ("hits", "hit_offsets", "tracks", "track_offsets", "numbers"):
        assert np.array_equal(getattr(chunk, name), getattr(again, name))
    assert not np.array_equal(chunk.tracks[:100], other.tracks[:100])
    assert len(np.intersect1d(chunk.numbers, other.numbers)) == 0


@settings(max_examples=4)
@given(events=st.integers(1, 25), more=st.integers(1, 12))
@example(events=10, more=10)
def test_blocks_do_not_depend_on_the_blocks_behind_them(events: int, more: int) -> None:
    """So that a simulation of any size needs no more than one of them at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "EVENTS_PER_CHUNK", 10)
        few, many = (list(simulate_chunks(n, seed=7)) for n in (events, events + more))
    assert [len(part.numbers) for part in few[:-1]] == [10] * (len(few) - 1)
    whole = few if events % 10 == 0 else few[:-1]
    for one, two in zip(whole, many, strict=False):
        for field in fields(Chunk):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))
    assert np.concatenate([p.numbers for p in many]).tolist() == [
        70_000_000 + n for n in range(events + more)
    ]


def test_hit_order_tells_nothing(chunk: Chunk) -> None:
    event = np.repeat(np.arange(len(chunk.numbers)), np.diff(chunk.hit_offsets))
    number = np.arange(len(event)) - chunk.hit_offsets[event]
    place = number / np.diff(chunk.hit_offsets)[event]
    true = chunk.hits[:, HITS.index("truthLink")] >= 0
    assert place[true].mean() == pytest.approx(place[~true].mean(), abs=0.01)


def test_version_is_raised_when_the_events_change() -> None:
    """Whoever changes these numbers must raise ``SIMULATION_VERSION``."""
    small = next(simulate_chunks(50, seed=1))
    assert SIMULATION_VERSION == 1
    assert len(small.hits) == 4177
    assert small.tracks[:, 0].mean() == pytest.approx(83.87686, rel=1e-5)
    assert small.hits[:, HITS.index("driftR")].mean() == pytest.approx(5.563871, rel=1e-4)
