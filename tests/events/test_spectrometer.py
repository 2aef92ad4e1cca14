"""The simulated spectrometer against closed forms, the stated figures, and its own cache."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headsweep.events.base import Events, check_events
from headsweep.events.detector import (
    STATIONS,
    Array,
    Crossings,
    Field,
    Muons,
    lose_energy,
    propagate,
    toroid,
)
from headsweep.events.hepattn_files import HITS, MDT, RPC, TGC, Chunk, write_hepattn
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
from headsweep.events.spectrometer import Spectrometer

BARREL = [0, 1, 2]


@pytest.fixture(scope="module")
def chunk() -> Chunk:
    return next(simulate_chunks(500, seed=5))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Events:
    return Spectrometer(events=2000, seed=5).load(tmp_path_factory.mktemp("root"))


def muons_at(pt: float, q: float, eta: float, phi: Array) -> Muons:
    """One muon from the origin for each phi."""
    full = np.full(len(phi), 1.0)
    return Muons(eta * full, phi, pt * full, q * full, np.zeros((3, len(phi))))


def uniform(tesla: float, r_from: float = 0.0) -> Field:
    return lambda r, phi, z: np.where(r > r_from, tesla, 0.0)


def chord(crossings: Crossings) -> Array:
    """Length of the straight line between the inner and the outer barrel crossing, in m [N]."""
    inner, _, outer = crossings.along[BARREL]
    length: Array = np.hypot(10.0 - 5.0, outer - inner)
    return length


def sagitta(crossings: Crossings) -> Array:
    """Distance of the middle barrel crossing from the chord, positive for positive charge [N]."""
    inner, middle, outer = crossings.along[BARREL]
    height: Array = ((outer - inner) * 2.5 - (middle - inner) * 5.0) / chord(crossings)
    return height


def owners(events: Events) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The true hits and the row in ``events.tracks`` of each."""
    event = np.repeat(np.arange(len(events)), np.diff(events.hit_offsets))
    true = np.flatnonzero(events.hit_track >= 0)
    return true, events.track_offsets[event[true]] + events.hit_track[true]


@pytest.mark.parametrize("pt", [5.0, 10.0, 50.0, 100.0, 200.0])
@pytest.mark.parametrize("q", [-1.0, 1.0])
def test_sagitta_follows_the_formula_in_a_uniform_field(pt: float, q: float) -> None:
    crossings = propagate(muons_at(pt, q, 0.0, np.zeros(1)), field=uniform(0.5))
    expected = 0.3 * 0.5 * chord(crossings)[0] ** 2 / (8 * pt)
    assert sagitta(crossings)[0] == pytest.approx(q * expected, rel=0.005)


def test_path_in_a_uniform_field_is_a_circle() -> None:
    pt, tesla = 3.0, 0.5
    crossings = propagate(muons_at(pt, 1.0, 0.0, np.zeros(1)), field=uniform(tesla))
    radius = pt / (0.299792458 * tesla)
    # The field acts from the calorimeter at r = 3 m: centre (3, R) in the (r, z) plane.
    for index in BARREL:
        arm = STATIONS[index].at - 3.0
        z = radius - np.sqrt(radius**2 - arm**2)
        slope = arm / np.sqrt(radius**2 - arm**2)
        assert crossings.along[index, 0] == pytest.approx(z, abs=2e-5)
        assert crossings.slope[index, 0] == pytest.approx(slope, rel=1e-3)
        assert crossings.curve[index, 0] == pytest.approx((1 + slope**2) ** 1.5 / radius, rel=1e-2)


def test_without_a_field_tracks_are_straight_lines_from_the_vertex() -> None:
    muons = draw_muons(500, np.random.default_rng(0))
    crossings = propagate(muons, field=uniform(0.0))
    for index, station in enumerate(STATIONS):
        seen = crossings.seen[index]
        assert seen.any()
        eta, z0 = muons.eta[seen], muons.vertex[2, seen]
        if station.barrel:
            expected = z0 + station.at * np.sinh(eta)
        else:
            expected = (np.sign(eta) * station.at - z0) / np.sinh(eta)
        np.testing.assert_allclose(crossings.along[index, seen], expected, atol=1e-3)
        turn = np.angle(np.exp(1j * (crossings.phi[index, seen] - muons.phi[seen])))
        np.testing.assert_allclose(turn, 0, atol=1e-4)


def test_field_is_modulated_by_the_eight_coils() -> None:
    phi = np.linspace(-np.pi, np.pi, 33)
    at = np.full_like(phi, 7.5)
    np.testing.assert_allclose(toroid(at, phi, 0 * at), 0.5 * (1 + 0.3 * np.cos(8 * phi)))
    weak_and_strong = sagitta(propagate(muons_at(100.0, 1.0, 0.2, np.array([np.pi / 8, 0.0]))))
    assert weak_and_strong[1] / weak_and_strong[0] == pytest.approx(1.3 / 0.7, rel=0.01)


def test_field_fills_barrel_and_end_caps_and_nothing_else() -> None:
    def at(r: float, z: float) -> float:
        return float(toroid(np.array(r), np.array(np.pi / 16), np.array(z)))

    assert at(7.5, 0) == pytest.approx(0.5)
    assert at(3.0, 10.0) == pytest.approx(0.5)
    assert 0.1 < at(1.0, -10.0) < at(2.0, -10.0) < 0.5
    for r, z in ((3.0, 0.0), (12.0, 0.0), (3.0, 7.0), (3.0, 14.0), (12.0, 10.0)):
        assert at(r, z) == 0


def test_charges_bend_apart_and_the_same_way_in_all_of_the_detector() -> None:
    for eta, station in ((0.3, 2), (2.0, 5), (-2.0, 5)):
        plus = propagate(muons_at(50.0, 1.0, eta, np.zeros(1)))
        minus = propagate(muons_at(50.0, -1.0, eta, np.zeros(1)))
        assert plus.seen[station, 0]
        assert minus.seen[station, 0]
        # Towards +z: to larger z in the barrel, to smaller r where z > 0, to larger r elsewhere.
        sign = 1 if station == 2 else -np.sign(eta)
        assert sign * (plus.along - minus.along)[station, 0] > 0.01


def test_about_3_gev_are_lost_in_the_calorimeter() -> None:
    rng = np.random.default_rng(1)
    loss = 50 - lose_energy(np.full(100_000, 50.0), rng)
    euler_gamma = 0.5772156649
    assert loss.mean() == pytest.approx(2.8 + 0.2 * (euler_gamma + np.log(2)), abs=0.01)
    assert loss.min() > 2
    # Seen from outside: the sagitta measures the momentum behind the calorimeter.
    muons = muons_at(20.0, 1.0, 0.0, np.full(3000, 0.1))
    straight = sagitta(propagate(muons, field=uniform(0.5, 5.0)))
    real = sagitta(propagate(muons, field=uniform(0.5, 5.0), rng=rng))
    assert np.median(20 * (1 - straight / real)) == pytest.approx(2.96, abs=0.1)


def test_scattering_has_highlands_width_and_falls_with_momentum() -> None:
    rng = np.random.default_rng(2)
    for pt in (20.0, 200.0):
        muons = muons_at(pt, 1.0, 0.0, np.zeros(4000))
        crossings = propagate(muons, field=uniform(0.0), rng=rng)
        thickness = 100.0
        width = 0.0136 / pt * np.sqrt(thickness) * (1 + 0.038 * np.log(thickness))
        # Scattered at r = 3 m, seen at 5 m; the loss of energy makes the angle a little larger.
        assert crossings.along[0].std() == pytest.approx(2.0 * width, rel=0.12)
        assert crossings.slope[0].std() == pytest.approx(width, rel=0.12)
        assert crossings.phi[0].std() == pytest.approx(2.0 / 5.0 * width, rel=0.12)


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


def test_key_names_everything_that_decides_the_events() -> None:
    key = Spectrometer(200, 1).key()
    assert len(key) == 16
    assert key == Spectrometer(200, 1).key()
    assert len({key, Spectrometer(201, 1).key(), Spectrometer(200, 2).key()}) == 3


def test_several_chunks_are_one_sample(tmp_path: Path) -> None:
    events = Spectrometer(events=2600, seed=9).load(tmp_path)
    assert np.array_equal(events.ids, 90_000_000 + np.arange(2600))
    folder = tmp_path / "cache" / "data" / Spectrometer(2600, 9).key()
    assert len(list(folder.glob("*.h5"))) == 2


def test_cache_is_read_and_a_damaged_one_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Spectrometer(events=60, seed=3)
    first = source.load(tmp_path)
    file = tmp_path / "cache" / "data" / source.key() / "events_000.h5"
    written = file.stat().st_mtime_ns
    second = source.load(tmp_path)
    assert file.stat().st_mtime_ns == written
    assert caplog.records == []

    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        third = source.load(tmp_path)
    assert "simulating again" in caplog.text
    assert str(file) in caplog.text
    for other in (second, third):
        assert np.array_equal(first.hits, other.hits)
        assert np.array_equal(first.hit_track, other.hit_track)
        assert np.array_equal(first.tracks, other.tracks)


def test_cache_with_other_events_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Spectrometer(events=60, seed=3)
    folder = tmp_path / "cache" / "data" / source.key()
    folder.mkdir(parents=True)
    write_hepattn(folder, simulate_chunks(40, seed=3))
    assert len(source.load(tmp_path)) == 60
    assert "40 events instead of 60" in caplog.text


def test_two_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: Spectrometer(60, 4).load(tmp_path), range(2))
    assert np.array_equal(one.hits, two.hits)
    names = {path.name for path in (tmp_path / "cache" / "data").iterdir()}
    key = Spectrometer(60, 4).key()
    assert names == {key, f"{key}.lock"}
