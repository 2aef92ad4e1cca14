"""Where files and folders stand below a root."""

from pathlib import Path

import pytest

from headsweep.errors import UserError
from headsweep.store import paths


def test_folders_stand_where_the_documentation_says() -> None:
    sweep = paths.sweep_folder(Path("root"), "presets")
    assert str(sweep) == "root/sweeps/presets"
    assert str(paths.job_folder(sweep, 3)) == "root/sweeps/presets/jobs/3"
    assert str(paths.attempt_folder(sweep, 3, 2)) == "root/sweeps/presets/attempts/3-2"
    assert str(paths.run_folder(Path("root"), "0f3a")) == "root/runs/0f3a"
    assert str(paths.seed_folder(Path("job"), 7)) == "job/seed_7"


def test_sweeps_are_listed_by_name_without_stray_files(tmp_path: Path) -> None:
    assert paths.sweep_folders(tmp_path) == []
    for name in ("b", "a"):
        (tmp_path / "sweeps" / name).mkdir(parents=True)
    (tmp_path / "sweeps" / "notes.txt").touch()
    assert [path.name for path in paths.sweep_folders(tmp_path)] == ["a", "b"]


def test_members_are_listed_by_number_and_not_by_name(tmp_path: Path) -> None:
    for name in ("seed_10", "seed_9", "seed_x", "seed_9.old", ".seed_3"):
        (tmp_path / name).mkdir()
    assert list(paths.seed_folders(tmp_path)) == [9, 10]
    assert paths.seed_folders(tmp_path)[9] == paths.seed_folder(tmp_path, 9)


def test_attempts_are_listed_with_their_job(tmp_path: Path) -> None:
    for number, attempt in ((2, 1), (2, 2), (12, 1)):
        paths.attempt_folder(tmp_path, number, attempt).mkdir(parents=True)
    found = paths.attempt_folders(tmp_path)
    assert sorted(number for number, _ in found) == [2, 2, 12]
    assert all(paths.attempt_folder(tmp_path, n, int(p.name[-1])) == p for n, p in found)


def test_a_job_knows_its_sweep_and_a_single_run_has_none() -> None:
    sweep = paths.sweep_folder(Path("root"), "presets")
    assert paths.sweep_of(paths.job_folder(sweep, 0)) == sweep
    assert paths.sweep_of(paths.run_folder(Path("root"), "0f3a")) is None


@pytest.mark.parametrize("place", ["sweeps/presets/jobs/0", "runs/0123456789abcdef"])
def test_the_root_is_found_above_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    assert paths.root_of(tmp_path / place) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert paths.root_of(Path(place)) == tmp_path


@pytest.mark.parametrize(
    "place", ["sweeps/presets", "jobs/0", "sweeps/presets/jobs/0/seed_0", "sweeps/jobs/0"]
)
def test_no_root_is_found_above_other_folders(tmp_path: Path, place: str) -> None:
    with pytest.raises(UserError, match="sweeps/NAME/jobs/NUMBER"):
        paths.root_of(tmp_path / place)


def test_a_job_at_the_top_of_the_disk_has_no_root() -> None:
    with pytest.raises(UserError):
        paths.root_of(Path("/"))


def test_a_sweep_or_run_is_given_by_name_or_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"  # as the default root is called
    for place in ("sweeps/g/jobs/0", "runs/0f3a"):
        (root / place).mkdir(parents=True)
        (root / place / "job.json").touch()
    elsewhere = Path("elsewhere")
    for text in ("sweeps/g", "sweeps/g/", "sweeps/g/jobs/0", "sweeps/../sweeps/g/jobs"):
        assert paths.locate(elsewhere, f"{root}/{text}") == (root, "g")
    assert paths.locate(elsewhere, f"{root}/runs/0f3a") == (root, "0f3a")
    assert paths.locate(elsewhere, "absent") == (elsewhere, "absent")
    monkeypatch.chdir(root / "sweeps")
    assert paths.locate(elsewhere, "g") == (root, "g")
    monkeypatch.chdir(root / "sweeps/g")
    assert paths.locate(elsewhere, ".") == (root, "g")
    (root / "sweeps/h/g").mkdir(parents=True)
    monkeypatch.chdir(root / "sweeps/h")
    assert paths.locate(root, "g") == (root, "g")  # a name comes first
    for other in (root, tmp_path / "nowhere/x", root / "sweeps", root / "runs"):
        with pytest.raises(UserError, match=r"neither a sweep nor a single run.*headsweep list"):
            paths.locate(root, str(other))


def test_a_job_is_found_by_path_or_below_the_root(tmp_path: Path) -> None:
    for place in ("sweeps/g/jobs/0", "runs/0f3a"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "job.json").touch()
    assert paths.find_job(tmp_path, "g/jobs/0") == tmp_path / "sweeps/g/jobs/0"
    assert paths.find_job(tmp_path, "0f3a") == tmp_path / "runs/0f3a"
    path = str(tmp_path / "runs/0f3a")
    assert paths.find_job(Path("elsewhere"), path) == Path(path)
    assert paths.find_job(tmp_path, "absent") == Path("absent")


def test_commands_name_a_root_that_is_not_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.command("report", Path("runs"), "g") == "headsweep report g"
    assert paths.command("report", tmp_path / "runs", "g") == "headsweep report g"
    assert paths.command("report", Path("it's"), "g") == """headsweep report g --root 'it'"'"'s'"""
