"""What `data validate` accepts, a training accepts; what it refuses, all refuse in one line."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import Command
from headsweep.events.hepattn_files import TRACKS, Chunk, write_hepattn
from headsweep.events.simulation import simulate_chunks
from helpers.frozen import write_folder

pytestmark = pytest.mark.slow

Frame = pd.DataFrame
TRAIN = ["backbone=truth", "optim.steps=2", "optim.batch_size=16", "seeds=1", "tracking=false"]
PARQUET = ["data=tracks", "data.source.path=data", "data.source.pt_edges=[1,5]"]
COIL = [*PARQUET, "data.source.features=[x,y,z]", "data.source.plane=xy"]
WIRES = [*PARQUET, "data.source.features=[wire,layer,drift]", "data.source.plane=xy"]
N, RADII = 120, np.array([0.05, 0.2, 0.5, 1.0])


def parquet(bad: Callable[[Frame, Frame], tuple[Frame, Frame]] | None) -> None:
    """A muon in each event: arcs in 2 T, as positions and as channels of wires, and noise."""
    rng = np.random.default_rng(0)
    eta, phi = rng.uniform(-2, 2, N), rng.uniform(-np.pi, np.pi, N)
    pt, q = rng.uniform(0.5, 10, N), rng.choice([-1, 1], N)
    angle = phi[:, None] - q[:, None] * np.arcsin(0.3 * RADII / pt[:, None])
    x, y, z = RADII * np.cos(angle), RADII * np.sin(angle), RADII * np.sinh(eta)[:, None]
    event = np.repeat(np.arange(N), len(RADII))
    hits = Frame({"event": event, "particle": 0, "x": x.ravel(), "y": y.ravel(), "z": z.ravel()})
    hits = hits.assign(
        wire=angle.ravel() * 100, layer=np.tile(RADII, N), drift=rng.random(len(x) * 4)
    )
    particles = Frame({"event": np.arange(N), "particle": 0, "pt": pt, "eta": eta, "phi": phi})
    hits, particles = (bad or (lambda *both: both))(hits, particles.assign(q=q))
    Path("data").mkdir()
    hits.to_parquet("data/hits.parquet")
    particles.to_parquet("data/particles.parquet")


def hepattn(in_degrees: bool) -> None:
    def chunks() -> Iterator[Chunk]:
        for chunk in simulate_chunks(60, 3):
            tracks = chunk.tracks.copy()
            tracks[:, TRACKS.index("phi")] *= 180 / np.pi if in_degrees else 1
            yield replace(chunk, tracks=tracks)

    Path("data").mkdir()
    write_hepattn(Path("data"), chunks())


@dataclass(frozen=True)
class Case:
    """Overrides of a source, its files good or bad, what the bad one is and says."""

    use: list[str]
    write: Callable[[bool], None]
    says: str
    spoil: tuple[str, ...] = ()


CASES = {
    "simulation": Case(
        ["data=tiny", "data.source.events=60"],
        lambda bad: None,
        "data.source.seed=-1: must be in",
        ("data.source.seed=-1",),
    ),
    "folder of HDF5": Case(
        ["data=hepattn", "data.source.path=data"],
        hepattn,
        "phi looks like degrees; it must be in radians",
    ),
    "tracks": Case(
        [*COIL, "features=bending"],
        lambda bad: parquet((lambda h, p: (h, p.assign(eta=-p["eta"]))) if bad else None),
        "eta has the wrong sign",
    ),
    "tracks of a folder without truth": Case(
        [*COIL, "features=document"],
        lambda bad: (parquet(None), Path("data/particles.parquet").unlink() if bad else None)[0],
        "need true tracks (particles.parquet, num_tracks)",
    ),
    "wires, features of the document": Case(
        [*WIRES, "features=document", "target.relative=false"],
        lambda bad: parquet((lambda h, p: (h, p.assign(pt=1e6 * p["pt"]))) if bad else None),
        "track column 'pt'",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_valid_trains(name: str, command: Command) -> None:
    case = CASES[name]
    case.write(False)
    code, out, err = command("data", "validate", *case.use)
    assert (code, out[:6]) == (0, "valid:"), err
    code, _, err = command("train", *case.use, *TRAIN)
    assert code == 0, err


@pytest.mark.parametrize("name", CASES)
def test_what_is_refused_is_refused_in_the_same_line(name: str, command: Command) -> None:
    """By `validate`, `inspect`, the training of heads and that of a backbone."""
    case = CASES[name]
    case.write(True)
    backbone = ["backbone", "own.safetensors", "--steps", "1"]
    lines = []
    for verb in (["data", "validate"], ["data", "inspect"], ["train", *TRAIN], backbone):
        code, _, err = command(*verb, *case.use, *case.spoil)
        assert code != 0
        assert "Traceback" not in err
        lines.append([line for line in err.splitlines() if case.says in line])
    assert len(lines[0]) == 1
    assert all(own == lines[0] for own in lines), lines
    assert not Path("own.safetensors").exists()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (
            "features=bending",
            "error: data: hit column 'x' is needed to measure the bending",
        ),
        ("data.selection.min_stations=2", "the hits have no 'stationIndex'"),
        ("data.selection.min_pt=100", "of split 'train' passes"),
        ("data.split.val=0.001", "120 events leave no events for 'val'"),
    ],
)
def test_what_the_configuration_asks_of_the_data_is_checked_alike(
    override: str, says: str, command: Command
) -> None:
    parquet(None)
    lines = []
    for verb in (["data", "validate"], ["train", *TRAIN]):
        code, _, err = command(*verb, *WIRES, "features=document", override)
        assert code != 0
        lines.append([line for line in err.splitlines() if says in line and "error" in line])
    assert len(lines[0]) == 1
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("found", "threshold", "says"),
    [
        (0.9, 0.01, "features.assignment_threshold=0.01: data has hits from p = 0.05 on"),
        (0.0, 0.1, "split 'train': the backbone found 0 of "),
        (0.9, 0.9999999, "assigned 0 hits to them at features.assignment_threshold=0.9999999"),
    ],
)
def test_what_a_recording_lacks_is_checked_alike(
    found: float, threshold: float, says: str, command: Command
) -> None:
    write_folder(Path("data"), events=24, found=found)
    use = ["data=frozen", "data.source.path=data", "features=document", "target.relative=false"]
    train = ["train", *TRAIN[1:]]
    assert (command("data", "validate", *use)[0] == 0) == (found > 0)
    lines = []
    for verb in (["data", "validate"], train):
        code, _, err = command(*verb, *use, f"features.assignment_threshold={threshold}")
        assert code != 0
        lines.append([line for line in err.splitlines() if says in line and "error" in line])
    assert len(lines[0]) == 1
    assert lines[0] == lines[1]
    if found:
        code, _, err = command(*train, *use)
        assert code == 0, err


def test_what_trained_a_model_judges_it_in_no_other_recording(command: Command) -> None:
    """By `validate`, a training and `predict`, where the first recording was trained on."""
    write_folder(Path("first"), events=24)
    write_folder(Path("second"), events=24, first_trained=6, dropped=2)
    use = ["data=frozen", "features=document", "target.relative=false"]
    verbs = {name: [*use, f"data.source.path={name}"] for name in ("first", "second")}
    train = ["train", *TRAIN[1:], "name=own", "-m", "optim.lr=0.01"]
    assert command("data", "validate", *verbs["second"])[0] == 0
    assert command(*train, *verbs["first"])[0] == 0
    for verb in (["data", "validate"], ["train", *TRAIN[1:]]):
        code, _, err = command(*verb, *verbs["second"])
        assert code != 0
        assert "backbone: it was trained on " in err
        assert "4 of 4 events of test, which would judge it" in err
    code, _, err = command("predict", "runs/sweeps/own/jobs/0", "second")
    assert code != 0
    assert "trained on " in err
    assert "of 24 events of the given data, which would judge it" in err
