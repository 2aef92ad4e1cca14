"""The Parquet layout: round trip, numbering, keys, and every bad input."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.errors import DataError, UserError
from headsweep.events.base import derive
from headsweep.events.gate import read_events
from helpers.acts import ACTS, NEEDS_ACTS, parquet_source

Good = tuple[Path, pd.DataFrame, pd.DataFrame]
"""The folder, its hits and its particles."""


PARTICLE = {"pt": 3.0, "eta": 0.1, "phi": 0.2, "q": -1}


def write(folder: Path, hits: pd.DataFrame, particles: pd.DataFrame) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    hits.to_parquet(folder / "hits.parquet")
    particles.to_parquet(folder / "particles.parquet")
    return folder


def tables(
    particles: Iterable[tuple[int, int]], rng: np.random.Generator, n_hits: int = 40
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hits, noise among them, of the given (event, particle) pairs, in random order."""
    truth = pd.DataFrame(sorted(particles), columns=["event", "particle"])
    truth["pt"] = rng.uniform(1, 9, len(truth))
    truth["eta"], truth["phi"] = rng.uniform(-2, 2, (2, len(truth)))
    truth["q"] = rng.choice([-1, 1], len(truth))
    hits = truth[["event", "particle"]].sample(n_hits, replace=True, random_state=1)
    hits.loc[rng.random(n_hits) < 0.3, "particle"] = -1
    for name in ("x", "y", "z", "t"):
        hits[name] = rng.uniform(-500, 500, n_hits).astype(np.float32)
    return hits, truth


@pytest.fixture
def good(tmp_path: Path) -> Good:
    rng = np.random.default_rng(3)
    hits, particles = tables([(7, 1), (7, 4), (9, 0)], rng)
    return write(tmp_path / "data", hits, particles), hits, particles


@pytest.mark.slow
@given(
    st.sets(st.tuples(st.integers(-5, 2**40), st.integers(0, 2**60)), min_size=1, max_size=12),
    st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None)
def test_every_hit_finds_its_particle(
    tmp_path_factory: pytest.TempPathFactory, pairs: set[tuple[int, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    hits, particles = tables(pairs, rng)
    folder = write(tmp_path_factory.mktemp("data"), hits, particles.sample(frac=1, random_state=2))
    events = parquet_source(folder).load(folder)

    assert events.ids.tolist() == sorted(particles["event"].unique())
    assert events.features == ("x", "y", "z", "t", "r", "s", "theta", "phi", "eta")
    assert events.hits.dtype == events.tracks.dtype == np.float32
    for index, number in enumerate(events.ids):
        tracks = slice(*events.track_offsets[index : index + 2])
        expected = particles[particles["event"] == number].sort_values("particle")
        np.testing.assert_allclose(
            events.tracks[tracks], expected[["eta", "phi", "pt", "q"]], rtol=1e-6
        )
        rows = slice(*events.hit_offsets[index : index + 2])
        mine = hits[hits["event"] == number]
        scaled = mine[["x", "y", "z", "t"]] * [1e-3, 1e-3, 1e-3, 1]
        np.testing.assert_allclose(events.hits[rows, :4], scaled, rtol=1e-6)
        order = expected["particle"].tolist()
        links = [order.index(p) if p >= 0 else -1 for p in mine["particle"]]
        assert events.hit_track[rows].tolist() == links
    x, y, z = events.hits[:, :3].T
    for name in ("r", "s", "theta", "phi", "eta"):
        np.testing.assert_array_equal(events.column(name), derive(name, x, y, z))


def test_position_columns_are_called_xyz(good: Good) -> None:
    folder, hits, particles = good
    other = {"x": "gx", "y": "gy", "z": "gz"}
    write(folder, hits.rename(columns=other), particles)
    events = parquet_source(
        folder,
        features=["t", "gx", "gy", "gz"],
        scales={"gx": 1e-3},
        position=["gx", "gy", "gz"],
        derived=["phi"],
    ).load(folder)
    assert events.features == ("t", "x", "y", "z", "phi")
    np.testing.assert_allclose(
        events.column("phi"), np.arctan2(events.column("y"), events.column("x")), rtol=1e-6
    )


def test_event_without_hits_stays(good: Good) -> None:
    folder, hits, particles = good
    write(folder, hits[hits["event"] != 9], particles)
    events = parquet_source(folder).load(folder)
    assert events.ids.tolist() == [7, 9]
    assert np.diff(events.hit_offsets)[1] == 0
    assert np.diff(events.track_offsets).tolist() == [2, 1]


def test_key_follows_contents_and_reading_but_not_place(good: Good, tmp_path: Path) -> None:
    folder, hits, particles = good
    key = parquet_source(folder).key()
    assert len(key) == 16
    assert parquet_source(write(tmp_path / "copy", hits, particles)).key() == key
    assert parquet_source(folder, pt_edges=[1, 2]).key() == key
    assert parquet_source(folder, derived=["r"]).key() != key
    assert parquet_source(folder, scales={}).key() != key
    assert parquet_source(folder, plane="rz").key() != key
    write(folder, hits.assign(t=1.0), particles)
    assert parquet_source(folder).key() != key


BAD = {
    "missing hit column": (
        lambda hits, particles: (hits.drop(columns="t"), particles),
        r"hits\.parquet: no column 't'",
    ),
    "missing particle column": (
        lambda hits, particles: (hits, particles.drop(columns="q")),
        r"particles\.parquet: no column 'q'",
    ),
    "NaN in a hit": (
        lambda hits, particles: (hits.assign(t=np.where(hits["event"] == 9, np.nan, 1)), particles),
        r"event 9, hit column 't': nan",
    ),
    "empty value in a hit": (
        lambda hits, particles: (
            hits.assign(t=hits["t"].astype("Float32").mask(hits["event"] == 9)),
            particles,
        ),
        r"event 9, hit column 't': nan",
    ),
    "infinity in a position": (
        lambda hits, particles: (hits.assign(y=np.where(hits["event"] == 7, np.inf, 1)), particles),
        r"event 7, hit column 'y': inf",
    ),
    "overflow of float32": (
        lambda hits, particles: (hits.assign(t=1e300), particles),
        r"event 7, hit column 't': inf",
    ),
    "NaN in a particle": (
        lambda hits, particles: (
            hits,
            particles.assign(eta=np.where(particles["particle"] == 4, np.nan, 1)),
        ),
        r"event 7, track column 'eta': nan",
    ),
    "charge zero": (
        lambda hits, particles: (hits, particles.assign(q=0)),
        r"event 7, track column 'q': 0",
    ),
    "negative pt": (
        lambda hits, particles: (hits, particles.assign(pt=-1.0)),
        r"event 7, track column 'pt': -1",
    ),
    "text in a feature": (
        lambda hits, particles: (hits.assign(t="late"), particles),
        r"hits\.parquet: column 't' holds .*string; it must be numbers",
    ),
    "fractions as event": (
        lambda hits, particles: (hits.assign(event=hits["event"] + 0.5), particles),
        r"hits\.parquet: column 'event' holds double",
    ),
    "empty particle number": (
        lambda hits, particles: (
            hits.assign(particle=hits["particle"].astype("Int64").mask(hits["event"] == 9)),
            particles,
        ),
        r"hits\.parquet: column 'particle' holds int64 with \d+ empty values",
    ),
    "event beyond 64 bits": (
        lambda hits, particles: (hits.assign(event=np.uint64(2**63 + 1)), particles),
        r"hits\.parquet: column 'event': a number is beyond 64 bits",
    ),
    "hit of an unknown particle": (
        lambda hits, particles: (hits, particles[particles["particle"] != 4]),
        r"hits\.parquet: event 7, column 'particle': 4 has no row in particles\.parquet",
    ),
    "noise other than -1": (
        lambda hits, particles: (hits.assign(particle=-2), particles),
        r"event 7, column 'particle': -2 has no row",
    ),
    "duplicate particle": (
        lambda hits, particles: (hits, pd.concat([particles, particles[1:2]])),
        r"particles\.parquet: event 7, column 'particle': 4 has more than one row",
    ),
    "noise among the particles": (
        lambda hits, particles: (hits, particles.assign(particle=[-1, 4, 0])),
        r"particles\.parquet: event 7, column 'particle': -1 is negative",
    ),
    "no particles": (
        lambda hits, particles: (hits, particles[:0]),
        r"particles\.parquet: no particles",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_its_place(good: Good, case: str) -> None:
    folder, hits, particles = good
    spoil, message = BAD[case]
    write(folder, *spoil(hits, particles))
    with pytest.raises(DataError, match=message):
        parquet_source(folder).load(folder)


@pytest.mark.parametrize("name", ["hits.parquet", "particles.parquet"])
def test_truncated_or_missing_files_are_named(good: Good, name: str) -> None:
    folder, _, _ = good
    content = (folder / name).read_bytes()
    for cut in (content[: len(content) // 2], b""):
        (folder / name).write_bytes(cut)
        with pytest.raises(DataError, match=name):
            parquet_source(folder).load(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        read_events(parquet_source(folder), folder)


def test_without_particles_there_are_hits_and_no_truth(good: Good) -> None:
    folder, hits, particles = good
    source = parquet_source(folder, limits={"extent": [0, 500], "compare": False})
    whole, key = source.load(folder), source.key()
    write(folder, hits.drop(columns="particle"), particles)
    (folder / "particles.parquet").unlink()
    source = parquet_source(folder, limits={"extent": [0, 500], "compare": False})
    assert source.key() != key
    events = read_events(source, folder, truth=False)
    assert events.tracks.shape == (0, 4)
    np.testing.assert_array_equal(events.hits, whole.hits)
    np.testing.assert_array_equal(events.hit_offsets, whole.hit_offsets)
    assert set(events.hit_track) == {-1}
    with pytest.raises(DataError, match=r"need true tracks \(particles\.parquet, num_tracks\)"):
        read_events(source, folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"derived": ["r", "rapidity"]}, "'rapidity'; known: r, s"),
        ({"scales": {"w": 2.0}}, "scales: 'w'"),
        ({"position": ["x", "y", "w"]}, "position: 'w'"),
        ({"position": ["x", "y"]}, "must name three columns"),
        ({"features": ["x", "y", "z", "t", "t"]}, "'t' would appear twice"),
        ({"features": ["x", "y", "z", "r"]}, "'r' would appear twice"),
    ],
)
def test_contradicting_arguments_are_refused_at_once(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        parquet_source(tmp_path, **changes)


@NEEDS_ACTS
def test_acts_muons() -> None:
    events = parquet_source(ACTS, features=["x", "y", "z", "t", "volume_id", "layer_id"]).load(ACTS)
    assert len(events) == 494
    assert events.hits.shape == (12095, 11)
    assert events.tracks.shape == (988, 4)
    assert set(np.diff(events.track_offsets)) == {2}
    assert set(events.hit_track) == {0, 1}
    assert events.column("r").max() < 1.1


def test_a_column_twice_is_refused(good: Good) -> None:
    folder, hits, _ = good
    table = pa.Table.from_pandas(hits)
    pq.write_table(table.append_column("t", table.column("t")), folder / "hits.parquet")
    with pytest.raises(DataError, match=r"hits\.parquet: more than one column 't'; it has event"):
        parquet_source(folder).load(folder)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int8", "int16", "uint32"])
@pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e5])
def test_columns_of_any_width_are_scaled_without_loss(good: Good, kind: str, scale: float) -> None:
    """The expected value is that of Python's own double precision."""
    folder, hits, particles = good
    values = np.linspace(1, 100, len(hits)).astype(kind)
    write(folder, hits.assign(t=values), particles)
    read = parquet_source(folder, scales={"t": scale}).load(folder)
    order = np.argsort(hits["event"].to_numpy(), kind="stable")
    expected = [float(value) * scale for value in values[order].tolist()]
    np.testing.assert_allclose(read.column("t"), expected, rtol=2e-7)


def test_events_without_tracks_are_read_for_the_gate_to_count(good: Good) -> None:
    folder, hits, particles = good
    write(folder, hits, particles[particles["event"] != 9])
    source = parquet_source(folder, limits={"extent": [0, 500], "compare": False})
    assert source.load(folder).ids.tolist() == [7, 9]
    events = read_events(source, folder)
    assert events.ids.tolist() == [7]
    assert events.left_out == {"without a true track": 1}


def test_a_detector_of_wires_needs_no_position(good: Good) -> None:
    """Neither x, y, z nor anything made of them is demanded where it is not used."""
    folder, hits, particles = good
    wires = hits.rename(columns={"x": "wire", "y": "plane", "z": "drift"})
    write(folder, wires, particles)
    source = parquet_source(folder, features=["wire", "plane", "drift"], scales={}, derived=[])
    events = read_events(source, folder)
    assert events.features == ("wire", "plane", "drift")
    with pytest.raises(UserError, match=r"derived=\['eta'\]: is computed from x, y and z"):
        parquet_source(folder, features=["wire"], scales={}, derived=["eta"])
    with pytest.raises(UserError, match="position: 'y' is not among"):
        parquet_source(folder, features=["x", "z"], scales={}, derived=[])


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"extend": [0, 1]}, r"limits\.extend=\[0, 1\]: no such limit, only abs_eta, compare"),
        ({"extent": 5}, "must be two rising numbers"),
        ({"pt": [5, 1]}, "must be two rising numbers"),
        ({"pt": [0, float("nan")]}, "must be two rising numbers"),
        ({"abs_eta": -1}, "must be a number above 0"),
        ({"field": 0}, "must be a number but 0"),
        ({"compare": "no"}, "must be true or false"),
    ],
)
def test_limits_are_checked(good: Good, limits: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parquet_source(good[0], limits=limits)
