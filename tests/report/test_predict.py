"""The verb `predict`, with truth and without, from files to the Parquet file."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import Command
from headsweep.events.hepattn_files import HITS, LINK, Chunk, write_hepattn
from headsweep.events.simulation import simulate_chunks
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.job import run_job
from headsweep.sweep.plan import make_plan
from helpers.frozen import write_folder

EVENTS = 60
TINY = ["data=tiny", f"data.source.events={EVENTS}"]


def train(root: Path, *overrides: str) -> Path:
    """The folder of a finished job."""
    data = [] if any(o.startswith("data=") for o in overrides) else TINY
    given = [
        *data,
        "optim.steps=5",
        "optim.batch_size=16",
        "seeds=2",
        "tracking=false",
        f"root={root}",
        *overrides,
    ]
    job = make_plan(given, multirun=False).jobs[0]
    inputs = find_inputs(job)
    folder = root / "runs" / inputs.job_key
    run_job(job, inputs, folder)
    return folder


def without_truth() -> Iterator[Chunk]:
    """Other events with `num_tracks` 0 and no link."""
    for chunk in simulate_chunks(EVENTS, 77):
        hits = chunk.hits.copy()
        hits[:, HITS.index(LINK)] = -1
        none = np.zeros_like(chunk.track_offsets)
        yield replace(chunk, hits=hits, tracks=chunk.tracks[:0], track_offsets=none)


@pytest.mark.slow
def test_events_without_truth_are_predicted_and_not_judged(
    command: Command, tmp_path: Path
) -> None:
    """The tracks are those that are matched with truth, but for a few; columns are the same."""
    folder = train(tmp_path / "runs")
    for name, chunks in (("true", simulate_chunks(EVENTS, 77)), ("bare", without_truth())):
        (tmp_path / name).mkdir()
        write_hepattn(tmp_path / name, chunks)
    frames = {}
    for name in ("true", "bare"):
        code, out, err = command("predict", str(folder), name, "--out", f"{name}.parquet")
        assert code == 0, err
        frames[name] = pd.read_parquet(tmp_path / f"{name}.parquet")
        assert ("qoverpt_r68" in out) == (name == "true")
        assert ("predictions only, and no metric is possible" in out) == (name == "bare")
    true, bare = frames["true"], frames["bare"]
    assert list(bare.columns) == list(true.columns)
    assert set(bare["seed"]) == {0, 1}
    truth = [name for name in true if name.endswith("_true")]
    assert bare[truth].isna().all(axis=None)
    assert bare.drop(columns=truth).notna().all(axis=None)
    keys = ["seed", "event", "eta", "phi", "pt", "kappa"]
    rounded = [frame[keys].round(3) for frame in (true, bare)]
    found = len(rounded[0].merge(rounded[1], on=keys))
    assert found > 0.8 * len(true)
    assert len(bare) < 1.3 * len(true)


def test_a_backbone_of_truth_finds_nothing_without(command: Command, tmp_path: Path) -> None:
    folder = train(tmp_path / "runs", "backbone=truth")
    (tmp_path / "bare").mkdir()
    write_hepattn(tmp_path / "bare", without_truth())
    code, _, err = command("predict", str(folder), "bare")
    assert code == 2
    assert "the backbone finds none in 60 events" in err
    assert "backbone=truth finds none without truth" in err
    assert not (tmp_path / "predictions.parquet").exists()


@pytest.mark.slow
def test_events_have_the_numbers_of_their_own_splits(command: Command, tmp_path: Path) -> None:
    recorded, other = tmp_path / "recorded", tmp_path / "other"
    write_folder(recorded, events=60)
    write_folder(other, events=30, seed=1, own_numbers=True, trained=0.0)
    written = pd.concat(map(pd.read_parquet, sorted(other.glob("*.parquet"))))
    written = written[written["found"]]
    given = ("data=frozen", f"data.source.path={recorded}", "features=document")
    code, _, err = command("predict", str(train(tmp_path / "runs", *given)), str(other))
    assert code == 0, err
    found = pd.read_parquet(tmp_path / "predictions.parquet")
    found = found[found["seed"] == 0]
    assert list(found.columns)[:3] == ["seed", "event", "split"]
    written["event"] %= 10**12
    keys = ["split", "event", "pt"]
    ours = found.drop(columns="pt").rename(columns={"pt_true": "pt"})[keys].sort_values(keys)
    theirs = written[keys].sort_values(keys)
    assert set(theirs["split"]) == {"val", "test"}
    np.testing.assert_allclose(ours["pt"], theirs["pt"], rtol=1e-6)
    assert ours[keys[:2]].to_numpy().tolist() == theirs[keys[:2]].to_numpy().tolist()
