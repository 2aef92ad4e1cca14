"""The sweep ``presets`` of two toy heads and its report, shared by the tests of a report."""

from pathlib import Path

import pytest

from headsweep.report.build import build_report
from headsweep.report.content import Report
from helpers.toy_presets import write_presets
from helpers.toy_runs import toy_score


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all output; nothing is written into it."""
    root = tmp_path_factory.mktemp("presets")
    write_presets(root)
    return root


@pytest.fixture(scope="session")
def built(root: Path) -> Report:
    """The report of the sweep."""
    return build_report(root / "sweeps" / "presets", root, toy_score)
