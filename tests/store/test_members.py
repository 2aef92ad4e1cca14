"""Members that were trained once are found by their key, and copied whole."""

from pathlib import Path

import pytest

from headsweep.errors import DamagedError
from headsweep.store import members, paths, runs
from helpers.run_folders import make_job


def test_members_are_found_by_their_key_wherever_they_lie(tmp_path: Path) -> None:
    job = make_job(tmp_path / "sweeps" / "a" / "jobs" / "3", finished=[0, 1], failed=[2], seeds=3)
    make_job(tmp_path / "sweeps" / "a" / "jobs" / "4", finished=[0])
    index = members.MemberIndex(tmp_path)
    assert index.find("job-3", [0, 2, 5]) == [str(job / "seed_0"), str(job / "seed_2")]
    assert index.find("job-3", []) == index.find("job-9", [0]) == []


def test_a_damaged_member_is_not_found(tmp_path: Path) -> None:
    job = make_job(tmp_path / "sweeps" / "a" / "jobs" / "3", finished=[0, 1])
    (job / "seed_0" / paths.HISTORY).write_text("step\n0\n")
    assert members.MemberIndex(tmp_path).find("job-3", [0, 1]) == [str(job / "seed_1")]
    with pytest.raises(DamagedError, match=paths.HISTORY):
        members.copy_member(job / "seed_0", tmp_path / "copy" / "seed_0")
    assert not (tmp_path / "copy" / "seed_0").exists()


def test_a_copy_has_every_file_of_the_member(tmp_path: Path) -> None:
    source = make_job(tmp_path / "sweeps" / "a" / "jobs" / "3", finished=[0]) / "seed_0"
    members.copy_member(source, tmp_path / "b" / "seed_0")
    copied, given = (
        {p.name: p.read_bytes() for p in f.iterdir()} for f in (tmp_path / "b/seed_0", source)
    )
    assert copied == given
    assert runs.read_result(tmp_path / "b" / "seed_0") is not None
