"""The converter on hand-written Acts CSV files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from headsweep.errors import DataError, UserError
from headsweep.events.acts_csv import convert
from headsweep.events.base import Events
from headsweep.events.parquet_tracks import ParquetTracks

MUON, OTHER, NEUTRAL, UNSEEN = ((1 << 52) + (n << 24) for n in (1, 2, 3, 4))
DISK = (8 << 56) | (2 << 36) | (77 << 8)
"""A geometry identifier: volume 8, layer 2, sensitive 77."""

HITS = f"""particle_id,geometry_id,tx,ty,tz,tt,tpx,tpy,tpz,te,deltapx,deltapy,deltapz,deltae,index
{MUON},{DISK},30,40,120,0.45,3,4,12,13,0,0,0,0,0
{OTHER},{DISK + (1 << 36)},-30,0,40,0.17,-1,0,2,2.2,0,0,0,0,0
{MUON},{DISK + (6 << 56)},60,80,240,0.9,3,4,12,13,0,0,0,0,1
{NEUTRAL},{DISK},1,2,3,0.1,1,1,1,1,0,0,0,0,0
{MUON + 1},{DISK},5,5,5,0.1,0,0,0,1,0,0,0,0,0
"""
PARTICLES = f"""particle_id,particle_type,process,vx,vy,vz,vt,px,py,pz,m,q
{OTHER},13,0,0,0,0,0,-1,0,2,0.10566,-1
{MUON},-13,0,0,0,0,0,3,4,12,0.10566,1
{NEUTRAL},22,0,0,0,0,0,1,1,1,0,0
{UNSEEN},13,0,0,0,0,0,1,1,1,0.10566,-1
"""


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name.replace('__', '-')}.csv").write_text(text)
    return folder


def converted(source: Path, target: Path) -> Events:
    convert(source, target)
    tables = [pd.read_parquet(target / f"{name}.parquet") for name in ("hits", "particles")]
    events = ParquetTracks(
        path=str(target),
        features=["x", "y", "z", "t", "volume_id", "layer_id", "module_id"],
        scales={"x": 1e-3, "y": 1e-3, "z": 1e-3},
        derived=["r"],
        position=["x", "y", "z"],
        plane="xy",
        pt_edges=[1, 10],
        min_bin_tracks=80,
        limits={},
        coils=None,
    ).load(target)
    return *tables, events


def shifted(text: str, event: int) -> str:
    """The table with an event_id column."""
    head, *rows = text.splitlines()
    return "\n".join([f"event_id,{head}", *(f"{event},{row}" for row in rows)]) + "\n"


def split_ids(text: str) -> str:
    """particle_id in five columns, as newer versions write it."""
    head, *rows = text.splitlines()
    parts = ["particle_id_pv", "particle_id_sv", "particle_id_part", "particle_id_gen"]
    head = ",".join([*parts, "particle_id_subpart", head.removeprefix("particle_id,")])
    lines = [head]
    for row in rows:
        number, rest = row.split(",", 1)
        lines.append(f"1,0,{(int(number) >> 24) & 0xFFFF},0,{int(number) & 1},{rest}")
    return "\n".join(lines) + "\n"


def check(hits: str, particles: str, event: int = 0) -> None:
    assert hits["event"].tolist() == [event] * 5
    assert hits["particle"].tolist() == [0, 1, 0, -1, -1]
    np.testing.assert_allclose(hits[["x", "y", "z"]].iloc[0], [30, 40, 120])
    np.testing.assert_allclose(hits["t"], [0.45, 0.17, 0.9, 0.1, 0.1], rtol=1e-6)
    assert hits["volume_id"].tolist() == [8, 8, 14, 8, 8]
    assert hits["layer_id"].tolist() == [2, 3, 2, 2, 2]
    assert hits["module_id"].tolist() == [77] * 5
    assert particles["particle"].tolist() == [0, 1]
    np.testing.assert_allclose(particles["pt"], [5, 1], rtol=1e-6)
    np.testing.assert_allclose(particles["eta"], np.arcsinh([2.4, 2.0]), rtol=1e-6)
    np.testing.assert_allclose(particles["phi"], [np.arctan2(4, 3), np.pi], rtol=1e-6)
    assert particles["q"].tolist() == [1, -1]


def test_plain_pair_of_one_event(tmp_path: Path) -> None:
    source = write(tmp_path / "csv", hits=HITS, particles=PARTICLES)
    hits, particles, events = converted(source, tmp_path / "out")
    check(hits, particles)
    assert events.hit_track.tolist() == [0, 1, 0, -1, -1]
    np.testing.assert_allclose(events.column("r")[0], 0.05)


def test_plain_pair_with_event_numbers(tmp_path: Path) -> None:
    two = [shifted(t, 6) + shifted(t, 3).split("\n", 1)[1] for t in (HITS, PARTICLES)]
    source = write(tmp_path / "csv", hits=two[0], particles=two[1])
    hits, particles, events = converted(source, tmp_path / "out")
    assert events.ids.tolist() == [3, 6]
    for event in (3, 6):
        check(hits[hits["event"] == event], particles[particles["event"] == event], event)


@pytest.mark.parametrize("stem", ["particles_simulated", "particles_initial", "particles"])
def test_one_file_per_event(tmp_path: Path, stem: str) -> None:
    """Files of an event that nobody is kept of do no harm, nor does a less exact particle file."""
    wrong = PARTICLES.replace(",3,4,12,", ",9,9,9,")
    files = {"event000000004__particles": wrong, "hits": "junk"}
    files |= {f"event000000004__{stem}": PARTICLES, "event000000004__hits": HITS}
    lonely = "\n".join(HITS.splitlines()[:1] + HITS.splitlines()[-1:])
    files |= {"event000000011__hits": lonely, f"event000000011__{stem}": PARTICLES}
    source = write(tmp_path / "csv", **files)
    hits, particles, events = converted(source, tmp_path / "out")
    assert events.ids.tolist() == [4]
    check(hits, particles, 4)


def test_split_particle_numbers_and_time_in_mm(tmp_path: Path) -> None:
    """Newer versions: five columns for the particle, and the time times the speed of light."""
    table = pd.read_csv(write(tmp_path / "old", hits=HITS) / "hits.csv")
    table["tt"] *= 299.792458
    source = write(
        tmp_path / "csv", hits=split_ids(table.to_csv(index=False)), particles=split_ids(PARTICLES)
    )
    hits, particles, _ = converted(source, tmp_path / "out")
    check(hits, particles)


def without(text: str, column: str) -> str:
    lines = [line.split(",") for line in text.splitlines()]
    drop = lines[0].index(column)
    return "\n".join(",".join(line[:drop] + line[drop + 1 :]) for line in lines) + "\n"


@pytest.mark.parametrize(
    ("hits", "particles", "message"),
    [
        (None, PARTICLES, "no event<number>-hits.csv and no hits.csv; found particles.csv"),
        (HITS, None, "none of particles_simulated.csv, .* beside hits.csv"),
        (without(HITS, "tz"), PARTICLES, "hits: no column 'tz'; found particle_id, "),
        (without(HITS, "particle_id"), PARTICLES, "hits: no column 'particle_id_pv'"),
        (HITS, split_ids(PARTICLES), "particles: no column 'particle_id'"),
        (HITS, without(PARTICLES, "px"), "particles: no column 'px'"),
        (HITS.replace(",120,", ",,"), PARTICLES, "hits: event 0, column 'tz': nan is not"),
        (HITS.replace(",120,", ",far,"), PARTICLES, "hits: event 0, column 'tz': far is not"),
        (HITS.replace(str(DISK), "inner"), PARTICLES, r"hits\.csv: not a readable CSV"),
        (HITS, PARTICLES + PARTICLES.splitlines()[2], f"event 0, particle_id {MUON} has more"),
        (HITS, PARTICLES.replace(",-1\n", ",0\n").replace(",1\n", ",0\n"), "no particle of charge"),
        ("", PARTICLES, r"hits\.csv: not a readable CSV"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    tmp_path: Path, hits: str | None, particles: str, message: str
) -> None:
    files = {"hits": hits, "particles": particles}
    source = write(tmp_path / "csv", **{k: v for k, v in files.items() if v is not None})
    with pytest.raises(DataError, match=message):
        convert(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["csv"]


def test_an_existing_target_is_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "csv", hits=HITS, particles=PARTICLES)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        convert(source, tmp_path / "out")
