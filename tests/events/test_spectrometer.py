"""The spectrometer as a source: events against the stated figures, and the cache."""

import logging
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headsweep.backbone.transformer import load
from headsweep.config import TEST_SEED
from headsweep.errors import UserError
from headsweep.events import base, hepattn_files, simulation, spectrometer
from headsweep.events.base import Events
from headsweep.events.checks import check_events
from headsweep.events.detector import (
    STATIONS,
)
from headsweep.events.hepattn_files import MDT, RPC, TGC, Chunk, write_hepattn
from headsweep.events.simulation import (
    EVENTS_PER_SEED,
    simulate_chunks,
)
from headsweep.events.spectrometer import TEST_EVENTS, Spectrometer
from headsweep.files import seal
from headsweep.sweep.plan import make_plan


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Events:
    return Spectrometer(events=2000, seed=5).load(tmp_path_factory.mktemp("root"))


def owners(events: Events) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The true hits and the row in ``events.tracks`` of each."""
    event = np.repeat(np.arange(len(events)), np.diff(events.hit_offsets))
    true = np.flatnonzero(events.hit_track >= 0)
    return true, events.track_offsets[event[true]] + events.hit_track[true]


@pytest.mark.slow
def test_hits_per_event_and_per_track_are_as_stated(events: Events) -> None:
    per_event = np.diff(events.hit_offsets)
    assert 80 < per_event.mean() < 90
    assert 50 < np.quantile(per_event, 0.01) < np.quantile(per_event, 0.99) < 120
    n_tracks = np.diff(events.track_offsets)
    assert set(n_tracks.tolist()) == {1, 2}
    assert n_tracks.mean() == pytest.approx(1.5, abs=0.05)

    true, track = owners(events)
    per_track = np.bincount(track, minlength=len(events.tracks))
    assert per_track.min() >= 3
    assert 19 < per_track.mean() < 21
    assert np.quantile(per_track, 0.05) >= 14
    assert np.quantile(per_track, 0.95) <= 23

    tubes = true[events.column("technology")[true] == MDT]
    of_tube = track[events.column("technology")[true] == MDT]
    station = np.rint(events.column("stationIndex")[tubes] * 10).astype(int)
    met = np.zeros((len(events.tracks), len(STATIONS)), bool)
    met[of_tube, station] = True
    assert (met.sum(axis=1) >= 3).mean() == pytest.approx(0.93, abs=0.02)


def test_muons_have_the_stated_spectrum(events: Events) -> None:
    eta, phi, pt, q = events.tracks.T.astype(np.float64)
    assert np.abs(eta).max() < 2.7
    assert pt.min() >= 2.5
    assert pt.max() <= 400
    assert abs(q.mean()) < 0.06
    shares = np.histogram(phi, np.linspace(-np.pi, np.pi, 9))[0] / len(phi)
    np.testing.assert_allclose(shares, 1 / 8, atol=0.025)
    # Log-uniform above the momenta that the calorimeter stops.
    edges = np.array([5, 10, 20, 40, 80, 160, 320])
    shares = np.histogram(pt, edges)[0] / len(pt)
    np.testing.assert_allclose(shares, np.log(2) / np.log(160), atol=0.025)


def test_features_have_their_meaning_and_units(events: Events) -> None:
    check_events(events, "simulation")
    assert len(events.features) == 23
    assert events.hits.dtype == np.float32
    technology = events.column("technology")
    station = np.rint(events.column("stationIndex") * 10).astype(int)
    barrel = np.array([s.barrel for s in STATIONS])[station]
    at = np.array([s.at for s in STATIONS])[station]
    tube = technology == MDT
    assert set(np.unique(technology[barrel]).tolist()) == {MDT, RPC}
    assert set(np.unique(technology[~barrel]).tolist()) == {MDT, TGC}
    # r and z of a tube's two ends are those of its wire, in metres.
    r_high = np.hypot(events.column("globEdgeHighX"), events.column("globEdgeHighY"))
    np.testing.assert_allclose(events.column("r")[tube], r_high[tube], rtol=1e-6)
    low, high = events.column("globEdgeLowZ"), events.column("globEdgeHighZ")
    assert np.array_equal(low[tube], high[tube])
    normal = np.where(barrel, events.column("r"), np.abs(low))
    assert np.abs(normal - at)[tube].max() == pytest.approx(0.152, abs=1e-5)
    drift = events.column("driftR")
    assert drift[tube].max() > 14.9
    assert drift.max() <= 15
    assert (drift[~tube] == 0).all()
    assert set(np.unique(events.column("layer")[tube]).tolist()) == set(range(6))
    # phi of a tube is that of its sector, of a trigger chamber that of the muon.
    true, track = owners(events)
    hard = events.tracks[track, 2] > 50
    off = events.column("phi")[true] - events.tracks[track, 1]
    off = np.angle(np.exp(1j * off))
    assert np.abs(off[hard & ~tube[true]]).max() < 0.05
    assert np.abs(off[hard & tube[true]]).max() < 2 * np.pi / 16 + 0.05
    assert np.std(off[hard & tube[true]]) > 0.1
    sector = np.floor(np.mod(events.column("phi")[~tube], 2 * np.pi) / (2 * np.pi / 16)) + 1
    assert (events.column("stationPhi")[~tube] == sector).mean() > 0.999


def test_key_names_everything_that_decides_the_events() -> None:
    key = Spectrometer(200, 1).key()
    assert len(key) == 16
    assert key == Spectrometer(200, 1).key()
    assert len({key, Spectrometer(201, 1).key(), Spectrometer(200, 2).key()}) == 3


@pytest.mark.slow
def test_several_chunks_are_one_sample(tmp_path: Path) -> None:
    events = Spectrometer(events=2600, seed=9).load(tmp_path)
    assert np.array_equal(events.ids, 90_000_000 + np.arange(2600))
    folder = tmp_path / "cache" / "data" / Spectrometer(2600, 9).key()
    assert len(list(folder.glob("*.h5"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["events_000.h5", "metadata.yaml", "checksums.json", None])
def test_cache_is_read_and_a_damaged_one_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str | None
) -> None:
    source = Spectrometer(events=60, seed=3)
    first = source.load(tmp_path)
    folder = tmp_path / "cache" / "data" / source.key()
    file = folder / (name or next(path.name for path in folder.glob("*.npy")))
    written = file.stat().st_mtime_ns
    second = source.load(tmp_path)
    assert file.stat().st_mtime_ns == written
    assert caplog.records == []

    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        third = source.load(tmp_path)
    assert "simulating again" in caplog.text
    assert str(folder) in caplog.text
    for other in (second, third):
        assert np.array_equal(first.hits, other.hits)
        assert np.array_equal(first.hit_track, other.hit_track)
        assert np.array_equal(first.tracks, other.tracks)


@pytest.mark.parametrize(("events", "seed"), [(40, 3), (60, 4)])
def test_cache_with_other_events_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, events: int, seed: int
) -> None:
    source = Spectrometer(events=60, seed=3)
    folder = tmp_path / "cache" / "data" / source.key()
    folder.mkdir(parents=True)
    write_hepattn(folder, simulate_chunks(events, seed))
    seal(folder)
    assert source.load(tmp_path).ids.tolist() == list(range(30_000_000, 30_000_060))
    wanted = f"{events} events from number {seed}0000000, instead of 60 from 30000000"
    assert wanted in caplog.text


def test_two_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: Spectrometer(60, 4).load(tmp_path), range(2))
    assert np.array_equal(one.hits, two.hits)
    names = {path.name for path in (tmp_path / "cache" / "data").iterdir()}
    key = Spectrometer(60, 4).key()
    assert names == {key, f"{key}.lock"}


def test_no_seed_of_a_configuration_reaches_a_test_sample() -> None:
    sample = Spectrometer(500, 1).test_sample()
    assert sample.events == TEST_EVENTS >= 10_000
    assert sample.key() == Spectrometer(15_000, 1).test_sample().key()
    assert sample.key() != Spectrometer(500, 2).test_sample().key()
    assert sample.seed == TEST_SEED + 1
    for seed in (-1, TEST_SEED):
        with pytest.raises(UserError, match=rf"data.source.seed=.*: must be in \[0, {TEST_SEED}\)"):
            make_plan([f"data.source.seed={seed}"], multirun=False)
    trained_on = str(load("shipped").facts["command"])
    assert "data.source.seed=1001" in trained_on


def test_event_numbers_of_the_sample_are_its_own(tmp_path: Path) -> None:
    ids = [Spectrometer(30, seed).load(tmp_path).ids for seed in (1, TEST_SEED - 1, TEST_SEED + 1)]
    assert len(np.unique(np.concatenate(ids))) == 90
    np.testing.assert_array_equal(ids[2], (TEST_SEED + 1) * EVENTS_PER_SEED + np.arange(30))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated 100 events and read some 700 hits at a time."""
    monkeypatch.setattr(simulation, "EVENTS_PER_CHUNK", 100)
    monkeypatch.setattr(hepattn_files, "READ_BYTES", 2**16)
    monkeypatch.setattr(base, "BLOCK_HITS", 700)
    monkeypatch.setattr(base, "BLOCK_STEP", 8)


def test_events_in_blocks_are_those_in_memory(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole = Spectrometer(60, seed=3).load(tmp_path)
    request.getfixturevalue("small_blocks")
    mapped = Spectrometer(60, seed=3).load(tmp_path)
    assert mapped.scratch is not None
    parts = [part for _, part in mapped.blocks()]
    assert len(parts) > 3
    for name in ("hits", "hit_track", "tracks", "ids", "hit_offsets", "track_offsets"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(whole, name))
    np.testing.assert_array_equal(np.concatenate([p.hits for p in parts]), whole.hits)


@pytest.mark.usefixtures("small_blocks")
def test_one_block_of_a_simulation_is_in_memory_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = []
    known: list[weakref.ref[NDArray[np.float32]]] = []

    def watched(events: int, seed: int) -> Iterator[Chunk]:
        for chunk in simulate_chunks(events, seed):
            known.append(weakref.ref(chunk.hits))
            alive.append(sum(ref() is not None for ref in known))
            yield chunk

    monkeypatch.setattr(spectrometer, "simulate_chunks", watched)
    monkeypatch.setattr(simulation, "EVENTS_PER_CHUNK", 10)
    assert len(Spectrometer(60, seed=3).load(tmp_path)) == 60
    assert len(alive) == 6
    assert max(alive) <= 2  # the one that is written, and the next
    assert all(ref() is None for ref in known)
