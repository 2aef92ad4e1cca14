"""What tab completion offers behind a verb."""

from pathlib import Path

import pytest

from headsweep.sweep.completion import names


def test_a_verb_is_followed_by_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("runs/sweeps/grid", "runs/sweeps/search", "runs/runs/0123", "other/sweeps/b"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "runs/sweeps/notes.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    assert names(["report"]) == names(["sync"]) == ["grid", "search", "0123"]
    assert names(["plan"]) == names(["study"]) == ["grid", "search"]
    assert names(["clean", "--sweep"]) == ["grid", "search"]
    assert names(["report", "--root", "other"]) == names(["report", "root=other"]) == ["b"]
    assert names(["ui"]) == names(["clean"]) == []
