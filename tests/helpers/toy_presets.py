"""A fabricated sweep of two heads with five members each, one of which failed."""

from pathlib import Path

from headsweep.features import cache
from headsweep.stats.tracks import Tracks
from helpers.toy_runs import smear, write_cache, write_toy_job

WIDTHS = {0: 0.10, 1: 0.12, 2: 0.09, 3: None, 4: 0.11}
"""Width of rho of each member of ``simpler``; seed 3 failed."""


def write_presets(root: Path) -> Path:
    """Write the sweep ``presets`` and its cache; the sweep's folder."""
    write_cache(root, "cache")
    heads = {"conservative": {s: 0.05 + 0.01 * s for s in range(5)}, "simpler": WIDTHS}
    for number, (head, widths) in enumerate(heads.items()):
        job = root / "sweeps" / "presets" / "jobs" / str(number)
        write_toy_job(job, widths, labels={"head": head}, overrides=[f"head={head}"])
    return root / "sweeps" / "presets"


def tracks_of(root: Path, width: float, seed: int) -> Tracks:
    """Tracks of a toy head on the split dev of the cache."""
    dev = cache.open_cache(root, "cache").load("dev")
    return Tracks.from_estimate(dev.event, dev.truth, smear(dev.truth, width, seed))
