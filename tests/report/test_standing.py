"""Standing of seeds=auto, from toys whose errors differ by their width alone."""

from pathlib import Path

import pytest

from headsweep.report import standing
from headsweep.report.build import build_report
from headsweep.report.standing import find_standing
from headsweep.store import specification
from helpers.toy_runs import toy_score, write_cache, write_toy_job

pytestmark = pytest.mark.slow

FOLDER = Path("sweeps", "s")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of three heads: the second is worse, the third scatters about the control."""
    monkeypatch.setattr(standing, "build_report", lambda f, root: build_report(f, root, toy_score))
    write_cache(tmp_path, "cache")
    widths = {
        "control": {s: 0.100 + 0.001 * (s % 2) for s in range(4)},
        "worse": {s: 0.150 + 0.001 * (s % 2) for s in range(4)},
        "open": {s: 0.09 + 0.02 * (s % 2) for s in range(2)},
    }
    folder = tmp_path / FOLDER
    for number, (label, own) in enumerate(widths.items()):
        labels = {"head": label}
        write_toy_job(folder / f"jobs/{number}", own, labels=labels, overrides=[f"head={label}"])
    return folder


def claim(folder: Path, most: int) -> None:
    design = {"kind": "control", "metrics": ["qoverpt_r68"], "split": "dev"}
    spec = {"seed": 0, "seeds": 2, "design": design, "looks": {"every": 2, "most": most}}
    specification.claim_sweep(folder, spec)


def test_an_open_arm_and_its_control_train_on(folder: Path) -> None:
    claim(folder, 10)
    found = find_standing(folder)
    assert found.seeds == {0: 4, 2: 4}
    assert [row[:3] for row in found.rows] == [
        ["worse", "control", "qoverpt_r68"],
        ["open", "control", "qoverpt_r68"],
    ]
    assert found.rows[0][3].startswith("worse: +")
    assert found.rows[1][3].startswith("undecided: ")
    assert [row[4] for row in found.rows] == ["2", "2"]


def test_nothing_trains_on_behind_the_last_look(folder: Path) -> None:
    claim(folder, 2)
    assert find_standing(folder).seeds == {}
