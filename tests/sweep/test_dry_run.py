"""The dry run: true parameters, the whole budget, nothing written."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from headsweep.sweep.dry_run import preset_parameters
from helpers.command import SMALL, Command

pytestmark = pytest.mark.slow


def dense(sizes: list[int]) -> int:
    """Parameters of dense layers, of which each but the last has a layer norm."""
    return sum(a * b + b for a, b in pairwise(sizes)) + 2 * sum(sizes[1:-1])


def test_parameters_of_the_presets_are_those_of_their_layers() -> None:
    found = {name: row["head"] for name, row in preset_parameters().items()}
    inputs = 32 + 4 * (32 + 32)  # the query, and four statistics of two projections
    assert found["conservative"] == dense([inputs, 144, 144, 4])
    assert found["more_capacity"] == dense([inputs, 256, 256, 256, 4])
    assert found["simpler"] == dense([inputs, 96, 4])
    assert found["direct_projection"] == dense([inputs, 4])
    assert found["before"] == dense([32 + 4 * (16 + 16), 4])


def test_parameters_of_hepattn_are_those_of_its_real_classes() -> None:
    """Counted on the classes as built; ``after`` part by part."""
    found = preset_parameters()
    assert (found["hepattn before"]["head"], found["hepattn before"]["total"]) == (104_324, 112_548)
    assert found["hepattn after"] == {
        "raw_projection": 3_712,
        "encoded_projection": 6_304,
        "head": 63_652,
        "total": 73_668,
        "aggregated_dim": 288,
    }


def test_every_job_is_listed_and_nothing_is_written(command: Command, tmp_path: Path) -> None:
    code, out, _ = command("train", "sweeps=smoke", "backbone=truth", "seeds=3", "--dry-run")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    rows = {words[1]: words[2:5] for words in lines if words and words[0].isdecimal()}
    assert rows == {
        "head=conservative": ["100", "3", "65,476"],
        "head=direct_projection": ["100", "3", "2,980"],
    }
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trials", [7, 1000])
def test_a_search_costs_all_its_trials(trials: int, command: Command, tmp_path: Path) -> None:
    search = ["optim.lr=interval(0.01,0.02)", f"hydra.sweeper.n_trials={trials}", "optim.steps=5"]
    code, out, _ = command("train", "-m", "data=tiny", "backbone=truth", *search, "--dry-run")
    assert code == 0
    assert re.search(rf"\b{trials} trials", out)
    assert list(tmp_path.iterdir()) == []


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of every file below a folder, and its folders."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in root.rglob("*")
    }


def test_what_is_there_is_counted_and_left_as_it_is(command: Command, tmp_path: Path) -> None:
    def dry(*more: str) -> tuple[list[str], str]:
        before = snapshot(tmp_path)
        code, out, _ = command("train", *SMALL, *more, "--dry-run")
        assert code == 0
        assert snapshot(tmp_path) == before
        rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdecimal()]
        return rows[0], out

    row, out = dry("seeds=2")
    assert "1 of 1 feature caches are made before" in out
    assert command("train", *SMALL, "seeds=2")[0] == 0
    row, out = dry("seeds=2")
    assert row[-4:] == ["2", "65,476", "2", "-"]  # seeds, parameters, trained, time
    assert "nothing is left to train" in out
    row, out = dry("seeds=5")
    assert row[-5:-2] == ["5", "65,476", "2"]
    assert "expected: 0 s of training with workers=1; the feature cache is there" in out
    [cache] = (tmp_path / "runs" / "cache" / "features").glob("*/meta.json")
    cache.write_bytes(cache.read_bytes()[:-9])
    _, out = dry("seeds=5")
    assert "1 of 1 feature caches are made before, 1 of them damaged" in out


def seconds(text: str) -> int:
    """Seconds of a time such as ``1 min 20 s``."""
    units = {"s": 1, "min": 60, "h": 3600}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+) (\w+)", text))


def test_the_time_of_the_rates_is_part_of_what_is_expected(command: Command) -> None:
    words = ["train", "-m", *SMALL, "head=simpler,conservative", "optim.steps=4000", "--dry-run"]
    code, out, _ = command(*words, "rates=auto")
    assert code == 0
    found = re.search(r"expected: (.+) of training .*, (.+) of it for the learning rates;", out)
    assert found is not None
    total, rates = map(seconds, found.groups())
    assert 0 < rates < total
    assert "learning rates;" not in command(*words, "rates=tuned")[1]


def test_equal_jobs_are_counted_once(command: Command) -> None:
    code, out, _ = command("train", "-m", *SMALL, "optim.lr=0.05,0.05", "--dry-run")
    assert code == 0
    assert "is the same job as" in out
    assert [line.split()[0] for line in out.splitlines() if line.strip()[:1].isdecimal()] == ["0"]
