"""The shared sample of Acts muons, and a source of events in the Parquet layout."""

from pathlib import Path
from typing import Any

import pytest

from headsweep.events.parquet_tracks import ParquetTracks

ACTS = Path(__file__).parents[3] / "shared/data/acts_muons"
NEEDS_ACTS = pytest.mark.skipif(not ACTS.is_dir(), reason=f"no Acts muons at {ACTS}")

ARGUMENTS: dict[str, Any] = {
    "features": ["x", "y", "z", "t"],
    "scales": {"x": 1e-3, "y": 1e-3, "z": 1e-3},
    "derived": ["r", "s", "theta", "phi", "eta"],
    "position": ["x", "y", "z"],
    "plane": "xy",
    "pt_edges": [0.5, 2, 5],
    "min_bin_tracks": 80,
    "limits": {},
    "coils": None,
}


def parquet_source(folder: Path, **changes: Any) -> ParquetTracks:
    """A source of a folder in the units of Acts; ``changes`` replace ``ARGUMENTS``."""
    return ParquetTracks(path=str(folder), **(ARGUMENTS | changes))
