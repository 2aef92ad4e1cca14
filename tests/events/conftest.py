"""Folders in the ATLAS-muon HDF5 layout."""

import shutil
from pathlib import Path

import pytest

from headsweep.events.hepattn_files import (
    write_hepattn,
)
from headsweep.events.simulation import simulate_chunks


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files with 12 simulated events each; not to be changed."""
    folder = tmp_path_factory.mktemp("original")
    write_hepattn(folder, (chunk for seed in (1, 2) for chunk in simulate_chunks(12, seed)))
    return folder


@pytest.fixture
def hepattn_folder(original: Path, tmp_path: Path) -> Path:
    """A copy of two files with 12 events each."""
    return shutil.copytree(original, tmp_path / "copy")
