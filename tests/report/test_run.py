"""The command ``report``: where it looks, and what MLflow may not break."""

from pathlib import Path

import pytest
import torch

from headsweep.errors import UserError
from headsweep.report import scoring
from headsweep.report.run import find_folder, make_report


def test_single_runs_and_sweeps_are_found_by_name(tmp_path: Path) -> None:
    for folder in ("sweeps/presets", "runs/0123"):
        (tmp_path / folder).mkdir(parents=True)
        assert find_folder(tmp_path, Path(folder).name) == tmp_path / folder
    with pytest.raises(UserError, match=r"'absent'.* sweeps there: presets"):
        find_folder(tmp_path, "absent")
    with pytest.raises(UserError, match="none yet"):
        find_folder(tmp_path / "nowhere", "presets")


def test_a_single_run_is_not_copied_to_a_server(tmp_path: Path) -> None:
    (tmp_path / "runs" / "0123").mkdir(parents=True)
    with pytest.raises(UserError, match="0123 is a single run"):
        make_report(tmp_path, "0123", "http://127.0.0.1:1")


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    with scoring.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
