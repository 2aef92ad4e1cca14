"""What the hits contradict is refused by name in a toroid and a solenoid; what may be passes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headsweep.errors import DataError
from headsweep.events.base import TRACK_COLUMNS, Events, derive
from headsweep.events.gate import Limits
from headsweep.events.hepattn import Hepattn
from headsweep.events.spectrometer import Spectrometer
from headsweep.features.analytic import circle
from headsweep.features.bending import hits_of_tracks
from headsweep.features.truth_check import (
    Bending,
    hit_directions,
    load_events,
    measure_bending,
    summarise,
)
from helpers.acts import ACTS, NEEDS_ACTS, parquet_source

Table = dict[str, NDArray[np.float64]]
Change = Callable[[Table], Table]

ETA, PHI, PT, Q = range(4)
LAYERS = np.array([0.03, 0.07, 0.12, 0.2, 0.35, 0.5, 0.7, 1.0])
UPSTREAM = ACTS.parent / "upstream"


@dataclass
class Sample:
    """Events behind the interface of a source."""

    events: Events
    plane: str
    limits: Limits = field(default_factory=Limits)
    pt_edges: tuple[float, ...] = (1.0, 5.0)
    min_bin_tracks: int = 10
    not_modelled: tuple[str, ...] = ()

    def key(self) -> str:
        return "sample"

    def test_sample(self) -> None:
        return None

    def load(self, root: Path) -> Events:
        return self.events


def solenoid(
    n: int, field: float = 2.0, pt: tuple[float, float] = (0.5, 50.0), seed: int = 0
) -> Events:
    """One muon in each event: an arc of radius pT / (0.3 B), positive charge turns right."""
    rng = np.random.default_rng(seed)
    eta, phi = rng.uniform(-2, 2, n), rng.uniform(-np.pi, np.pi, n)
    momentum, q = np.exp(rng.uniform(*np.log(pt), n)), rng.choice([-1.0, 1.0], n)
    radius = momentum / (0.3 * field)
    half = np.arcsin(LAYERS / (2 * radius[:, None]))  # half of the arc to each layer
    angle = phi[:, None] - q[:, None] * half
    x, y = LAYERS * np.cos(angle), LAYERS * np.sin(angle)
    z = rng.normal(0, 0.02, n)[:, None] + 2 * radius[:, None] * half * np.sinh(eta)[:, None]
    xyz = np.stack([x, y, z], -1).reshape(-1, 3)
    xyz = (xyz + rng.normal(0, 5e-5, xyz.shape)).astype(np.float32)
    derived = [derive(name, *xyz.T) for name in ("r", "phi", "eta")]
    return Events(
        hits=np.column_stack([xyz, *derived]).astype(np.float32),
        features=("x", "y", "z", "r", "phi", "eta"),
        hit_track=np.zeros(n * len(LAYERS), np.int32),
        hit_offsets=np.arange(n + 1) * len(LAYERS),
        tracks=np.stack([eta, phi, momentum, q], 1).astype(np.float32),
        track_offsets=np.arange(n + 1),
        ids=np.arange(n),
    )


@pytest.fixture(scope="module")
def toroid(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A small simulation, with the limits of a folder in its layout: the field is not known."""
    source = Spectrometer(events=300, seed=7)
    events = source.load(tmp_path_factory.mktemp("root"))
    return Sample(events, "rz", Limits(extent=(1.0, 50.0), abs_eta=4.0, pt=(0.1, 10_000.0)))


@pytest.fixture(scope="module")
def coil() -> Sample:
    return Sample(solenoid(400), "xy")


def changed(sample: Sample, change: Change) -> Sample:
    """The sample with other truth, or with other positions: columns ``x``, ``y``, ``z``."""
    events = sample.events
    axes = [
        name.split("X")[0]
        for name in events.features
        if name.startswith("globEdge") and name.endswith("X")
    ] or [""]
    table: Table = dict(zip(TRACK_COLUMNS, events.tracks.T.astype(np.float64), strict=True))
    hits = events.hits.copy()
    for stem in axes:
        names = [f"{stem}{a.upper()}" if stem else a for a in "xyz"]
        columns = [events.features.index(name) for name in names]
        table |= dict(zip("xyz", hits[:, columns].T.astype(np.float64), strict=True))
        new = change(dict(table))
        hits[:, columns] = np.stack([new[a] for a in "xyz"], 1)
    tracks = np.stack([new[name] for name in TRACK_COLUMNS], 1).astype(np.float32)
    return replace(sample, events=replace(events, hits=hits, tracks=tracks))


def column(name: str, change: Callable[[Table], NDArray[np.float64]]) -> Change:
    """Another content of one column."""
    return lambda table: {**table, name: change(table)}


def one(name: str, value: float) -> Change:
    """One wild value, in row 9."""

    def change(table: Table) -> Table:
        values = table[name].copy()
        values[9] = value
        return {**table, name: values}

    return change


def rows(table: Table) -> Table:
    """Truth rows in another order than the hits."""
    order = np.random.default_rng(1).permutation(len(table["eta"]))
    return {**table, **{name: table[name][order] for name in TRACK_COLUMNS}}


def shuffled(name: str) -> Change:
    return column(name, lambda t: np.random.default_rng(1).permutation(t[name]))


def scaled(factor: float) -> Change:
    return lambda t: {**t, **{axis: factor * t[axis] for axis in "xyz"}}


BOTH: dict[str, tuple[Change, str]] = {
    "phi in degrees": (column("phi", lambda t: np.rad2deg(t["phi"])), "'phi'.*phi looks like deg"),
    "phi in turns": (column("phi", lambda t: t["phi"] / (2 * np.pi)), "phi looks like turns"),
    "phi mirrored": (column("phi", lambda t: -t["phi"]), "phi has the wrong sign"),
    "phi is constant": (column("phi", lambda t: 0 * t["phi"] + 0.3), "'phi': the truth is off"),
    "eta times 100": (column("eta", lambda t: 100 * t["eta"]), "'eta'"),
    "eta over 100": (column("eta", lambda t: t["eta"] / 100), "eta is off by a factor 0.0"),
    "eta times 1.2": (column("eta", lambda t: 1.2 * t["eta"]), r"'eta'.*by a factor 1\.[12]"),
    "eta is theta": (
        column("eta", lambda t: 2 * np.arctan(np.exp(-t["eta"]))),
        "'eta'.*eta looks like theta",
    ),
    "eta mirrored": (column("eta", lambda t: -t["eta"]), "eta has the wrong sign"),
    "eta is constant": (column("eta", lambda t: 0 * t["eta"] + 0.3), "'eta': the truth is off"),
    "eta and phi exchanged": (
        lambda t: {**t, "eta": t["phi"], "phi": t["eta"]},
        "eta and phi look exchanged",
    ),
    "x and y exchanged": (lambda t: {**t, "x": t["y"], "y": t["x"]}, "x and y look exchanged"),
    "x mirrored": (column("x", lambda t: -t["x"]), "x has the wrong sign"),
    "axes in a circle": (
        lambda t: {**t, "x": t["y"], "y": t["z"], "z": t["x"]},
        "x, y and z are exchanged",
    ),
    "z in another unit": (column("z", lambda t: t["z"] / 1000), "'eta'.*or z is against x and y"),
    "rows shuffled": (rows, "truth and hits may not belong together"),
    "positions in mm": (scaled(1e3), r"\d is outside of -\d+ to \d+.*look like mm"),
    "positions a thousandfold off": (scaled(1e-3), "positions look a thousandfold too small"),
    "pT in MeV": (column("pt", lambda t: 1e3 * t["pt"]), "pT looks like MeV"),
    "pT in TeV": (column("pt", lambda t: 1e-3 * t["pt"]), "pT looks like TeV"),
    "1/pT": (column("pt", lambda t: 1 / t["pt"]), "like 1/pT"),
    "p instead of pT": (column("pt", lambda t: t["pt"] * np.cosh(t["eta"])), "it looks like p;"),
    "pT shuffled": (shuffled("pt"), "'pt': it does not agree with how the hits bend"),
    "pT is constant": (column("pt", lambda t: 0 * t["pt"] + 20), "'pt': it does not agree with"),
    "log pT": (column("pt", lambda t: np.log(t["pt"]) + 2), "'pt'.*like a logarithm"),
    "pT squared": (column("pt", lambda t: t["pt"] ** 2 / 20), "'pt'.*or a square"),
    "charge shuffled": (shuffled("q"), "'q': it does not agree with the side"),
    "charge is constant": (column("q", lambda t: np.abs(t["q"])), "'q': it does not agree"),
    "one pT of 1e30": (one("pt", 1e30), "'pt': 1e\\+30 is outside"),
    "one negative pT": (one("pt", -5.0), "'pt': -5.0 is not allowed"),
    "one phi of 1e30": (one("phi", 1e30), "'phi': 1e\\+30 is outside"),
    "one eta of 1e30": (one("eta", 1e30), "'eta': 1e\\+30 is outside"),
    "one coordinate of 1e30": (one("y", 1e30), "'.*[yY]': 1e\\+30 is outside"),
}


@pytest.mark.parametrize("case", BOTH)
@pytest.mark.parametrize("detector", ["toroid", "coil"])
def test_what_cannot_be_is_refused_by_name(
    detector: str, case: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    change, message = BOTH[case]
    with pytest.raises(DataError, match=message):
        load_events(changed(request.getfixturevalue(detector), change), tmp_path)


PASSES: dict[str, Change] = {
    "as it is": lambda t: t,
    "phi from 0 to 2 pi": column("phi", lambda t: t["phi"] % (2 * np.pi)),
    "charges turned": column("q", lambda t: -t["q"]),  # the field may have the other sign
    "another axis": lambda t: {**t, "x": -t["x"], "y": -t["y"], "phi": t["phi"] - np.pi},
}


@pytest.mark.parametrize("case", PASSES)
@pytest.mark.parametrize("detector", ["toroid", "coil"])
def test_what_may_be_passes(
    detector: str, case: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    sample = request.getfixturevalue(detector)
    events = load_events(changed(sample, PASSES[case]), tmp_path)
    phi = events.tracks[:, PHI]
    assert np.abs(phi).max() <= np.float32(np.pi)
    if case == "phi from 0 to 2 pi":
        off = phi - sample.events.tracks[:, PHI]
        np.testing.assert_allclose(np.arctan2(np.sin(off), np.cos(off)), 0, atol=1e-6)


@pytest.mark.parametrize("swapped", [0.3, 1.0])
def test_tracks_exchanged_within_their_events_are_refused(
    swapped: float, toroid: Sample, tmp_path: Path
) -> None:
    """Events with one track keep it: medians alone would not see this."""
    events, rng = toroid.events, np.random.default_rng(0)
    tracks = events.tracks.copy()
    for first in events.track_offsets[:-1][np.diff(events.track_offsets) == 2]:
        if rng.random() < swapped:
            tracks[[first, first + 1]] = tracks[[first + 1, first]]
    with pytest.raises(DataError, match=r"eta.*phi"):
        load_events(replace(toroid, events=replace(events, tracks=tracks)), tmp_path)


def test_a_known_field_shows_flipped_charges_and_scales(coil: Sample, tmp_path: Path) -> None:
    known = replace(coil, limits=Limits(field=2.0))
    load_events(known, tmp_path)
    with pytest.raises(DataError, match=r"'q'.*flipped as a whole"):
        load_events(changed(known, column("q", lambda t: -t["q"])), tmp_path)
    with pytest.raises(DataError, match=r"a field of 4 T, but data.source.limits.field is 2"):
        load_events(changed(known, column("pt", lambda t: 2 * t["pt"])), tmp_path)


def test_the_field_that_the_hits_show_is_that_of_the_simulation() -> None:
    for tesla in (0.5, -3.8):
        events = solenoid(200, abs(tesla), pt=(2.0, 20.0))
        truth = dict(zip(TRACK_COLUMNS, events.tracks.T.astype(np.float64), strict=True))
        truth["q"] *= np.sign(tesla)
        found = measure_bending("xy", circle(hits_of_tracks(events, np.arange(200))), truth)
        assert isinstance(found, Bending)
        assert found.tracks == 200
        assert found.field == pytest.approx(tesla, rel=0.02)
        assert found.side == pytest.approx(np.sign(tesla))
        assert found.rank < -0.99


def test_directions_are_those_of_the_truth(coil: Sample) -> None:
    events = coil.events
    found = hit_directions("xy", hits_of_tracks(events, np.arange(400)))
    assert found is not None
    np.testing.assert_allclose(found[0], events.tracks[:, ETA], atol=0.2)
    off = found[1] - events.tracks[:, PHI]
    np.testing.assert_allclose(np.arctan2(np.sin(off), np.cos(off)), 0, atol=0.05)


@pytest.mark.parametrize("field", [0.0, 1e-4])
def test_bending_that_is_not_measured_judges_nothing(field: float, tmp_path: Path) -> None:
    """Straight tracks: neither pT nor charge can be told, and directions still agree."""
    events = solenoid(300, field=max(field, 1e-9))
    load_events(Sample(events, "xy"), tmp_path)


def test_tracks_from_elsewhere_pass_where_the_source_says_so(coil: Sample, tmp_path: Path) -> None:
    moved = changed(coil, column("x", lambda t: t["x"] + 3.0))
    with pytest.raises(DataError, match=r"limits\.compare=false"):
        load_events(moved, tmp_path)
    load_events(replace(moved, limits=Limits(compare=False)), tmp_path)


def test_hits_without_a_position_are_not_compared(coil: Sample, tmp_path: Path) -> None:
    events = coil.events
    wires = replace(events, features=("wire", "plane", "t", "r", "a", "b"))
    assert hit_directions("xy", hits_of_tracks(wires, np.arange(9))) is None
    load_events(replace(coil, events=wires), tmp_path)


def test_the_simulation_passes_with_its_own_limits(tmp_path: Path) -> None:
    assert len(load_events(Spectrometer(events=100, seed=3), tmp_path)) == 100


def test_a_summary_says_how_the_hits_bend(coil: Sample) -> None:
    lines = summarise(coil.events, "xy")
    assert lines[0] == "400 events, 400 tracks, 3,200 hits"
    assert lines[-1] == "bending: as in a field of 2 T, positive charge turns right"
    straight = solenoid(300, field=1e-9)
    assert "not measured" in summarise(straight, "xy")[-1]


@NEEDS_ACTS
def test_real_samples_pass(tmp_path: Path) -> None:
    source = parquet_source(ACTS, limits={"field": 2.0, "extent": [0.5, 5.0]})
    assert len(load_events(source, tmp_path)) == 494
    for name in ("stage1", "filtered"):
        found = load_events(
            Hepattn(str(UPSTREAM / name), [5.0, 20.0], 50, {}, None, None, None), tmp_path
        )
        assert found.left_out == {}
        assert len(found) > 60
