"""Damage of any file of a small grid: readers refuse it by name, the same command mends it."""

import shutil
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

from headsweep.store import repair
from helpers.command import SMALL, Command
from helpers.run_folders import make_job

GRID = ["name=g", *SMALL, "seeds=2", "head.dropout=0.1,0.2"]

FILES = (
    *("spec.yaml", "jobs/0/job.json", "jobs/0/config.yaml", "jobs/0/seed_1/result.json"),
    *(f"jobs/0/seed_1/{name}" for name in ("history.csv", "head.safetensors")),
    "jobs/0/seed_1/predictions_val.parquet",
)


def delete(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    """Put the same file of the other job in its place, or for the only one of its kind nothing."""
    other = Path(str(path).replace("jobs/0", "jobs/1"))
    path.write_bytes(b"" if other == path else other.read_bytes())


def kept(sweep: Path) -> dict[str, bytes]:
    """Names of all files that count, with the content of those that have no times."""
    names = [p for p in sweep.rglob("*") if p.is_file() and "jobs" in p.relative_to(sweep).parts]
    names = [p for p in names if p.name != "progress.json"] + [sweep / "spec.yaml"]
    return {str(p.relative_to(sweep)): _content(p) for p in names}


def _content(path: Path) -> bytes:
    """Content of a file, but for its times, its root and the checksum of these."""
    if path.name in ("job.json", "result.json"):
        return b""
    if path.suffix != ".yaml":
        return path.read_bytes()
    lines = path.read_bytes().splitlines()
    return b"\n".join(line for line in lines if not line.startswith((b"root:", b"# sha256")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the undisturbed grid, empty until the first test."""
    return tmp_path_factory.mktemp("undisturbed")


@pytest.mark.slow
@pytest.mark.usefixtures("working_here")
@pytest.mark.parametrize(
    ("file", "damage"),
    [*zip(FILES, cycle((delete, cut, flip, swap))), *zip(FILES[:6], cycle((swap, flip)))],
)
def test_the_same_command_mends_any_damage(
    file: str, damage: Callable[[Path], None], trained: Path, tmp_path: Path, command: Command
) -> None:
    if not (trained / "sweeps").exists():
        assert command("train", "-m", *GRID, f"root={trained}")[0] == 0
    root = tmp_path / "root"
    shutil.copytree(trained, root)
    damage(root / "sweeps" / "g" / file)
    verb = "plan" if file.endswith(".parquet") else "report"  # that reads it
    code, _, err = command(verb, "g", f"root={root}")
    assert code == 2
    assert f"sweeps/g/{file.rpartition('/')[0]}".rstrip("/") in err
    code, _, err = command("train", "-m", *GRID, f"root={root}")
    assert code == 0, err
    assert kept(root / "sweeps" / "g") == kept(trained / "sweeps" / "g")


def test_only_what_is_damaged_is_removed(tmp_path: Path) -> None:
    job = make_job(tmp_path / "jobs" / "0", finished=[0, 1])
    assert repair.find_damage(job, "job-0") == {}
    flip(job / "seed_1" / "history.csv")
    (line,) = repair.remove_damage(job, "job-0")
    assert line.endswith("trained again")
    assert "seed_1/history.csv" in line
    assert repair.missing_seeds(job, "job-0", [0, 1]) == [1]
    cut(job / "config.yaml")
    repair.remove_damage(job, "job-0")
    assert not job.exists()
