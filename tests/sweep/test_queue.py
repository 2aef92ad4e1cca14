"""Folders of attempts: each job's own, and none left of earlier ones."""

from pathlib import Path

from headsweep.sweep.leases import Lease
from headsweep.sweep.queue import drop_attempts, move, new_attempt


def names(folder: Path) -> list[str]:
    """Names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_an_attempt_removes_what_earlier_ones_left(tmp_path: Path) -> None:
    for name in ("1-1", "1-2", "11-1", "2-1"):
        (tmp_path / "attempts" / name / "seed_0").mkdir(parents=True)
    folder = new_attempt(tmp_path, Lease(1, attempt=3))
    assert folder == tmp_path / "attempts" / "1-3"
    assert names(tmp_path / "attempts") == ["11-1", "2-1"]
    drop_attempts(tmp_path, 11)
    assert names(tmp_path / "attempts") == ["2-1"]
    drop_attempts(tmp_path / "no such sweep", 0)


def test_a_moved_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    source, target = tmp_path / "attempts/0-1", tmp_path / "jobs/0"
    for word in ("first", "second"):
        source.mkdir(parents=True)
        (source / word).write_text(word)
        move(source, target)
        assert names(target) == [word]
        assert not source.exists()
