"""Keys of the data: sources, their splits, and the tracks that count."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from omegaconf import MISSING

from headsweep.config.ranges import check, check_each, one_of, open_keys, within

TEST_SEED = 1_000_000
"""Seeds of simulated test samples begin here, above all that a configuration may choose."""


@dataclass
class SplitConfig:
    """Shares of the events; training takes the rest. With ``folds`` dev is fold ``fold``."""

    val: float = within(0.2, "(0, 1)")
    dev: float = within(0.2, "[0, 1)")
    test: float = within(0.0, "[0, 1)")
    seed: int = within(0, "[0, inf)")
    folds: int | None = within(None, "[2, inf)")
    fold: int = 0

    def __post_init__(self) -> None:
        check_each("data.split", self)
        if self.folds is None:
            check(self.dev > 0, "data.split.dev", self.dev, "above 0")
            check(self.fold == 0, "data.split.fold", self.fold, "0 without data.split.folds")
            total = self.val + self.dev + self.test
            check(total < 1, "data.split.val + dev + test", total, "below 1")
        else:
            check(0 <= self.fold < self.folds, "data.split.fold", self.fold, "in [0, folds)")


@dataclass
class SelectionConfig:
    """Cuts on true tracks, ``events/selection.py``; by default none. A bound itself is kept."""

    min_hits: int = within(0, "[0, inf)")
    min_abs_eta: float = within(0.0, "[0, inf)")
    max_abs_eta: float | None = None
    min_pt: float = within(0.0, "[0, inf)")
    min_stations: int = within(0, "[0, inf)")
    min_station_hits: int = within(3, "[1, inf)")

    def __post_init__(self) -> None:
        check_each("data.selection", self)
        low, high = self.min_abs_eta, self.max_abs_eta
        if high is not None:
            must = "above data.selection.min_abs_eta and finite"
            check(low < high < math.inf, "data.selection.max_abs_eta", high, must)


@dataclass
class DataConfig:
    """A source of events (``_target_`` and its arguments), its split, and the tracks that count.

    A grid with ``split.folds`` trains on all folds of ``repeats`` split seeds unless told which.
    """

    source: Any = MISSING
    split: SplitConfig = field(default_factory=SplitConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    repeats: int = within(1, "[1, inf)")

    def __post_init__(self) -> None:
        check_each("data", self)


@dataclass
class SpectrometerConfig:
    """The simulated muon spectrometer, ``events/spectrometer.py``."""

    _target_: str = "headsweep.events.spectrometer.Spectrometer"
    events: int = within(15000, "[20, inf)")
    seed: int = within(1, f"[0, {TEST_SEED})")

    def __post_init__(self) -> None:
        check_each("data.source", self)


@dataclass
class HepattnConfig:
    """A directory in the ATLAS-muon HDF5 layout, or three; ``events/hepattn.py``."""

    _target_: str = "headsweep.events.hepattn.Hepattn"
    path: str = MISSING
    val: str | None = None
    test: str | None = None
    features: list[str] | None = None
    pt_edges: list[float] = field(default_factory=lambda: [5.0, 10.0, 20.0, 50.0, 100.0, 200.0])
    min_bin_tracks: int = within(200, "[1, inf)")
    limits: dict[str, Any] = field(default_factory=open_keys)

    def __post_init__(self) -> None:
        check_each("data.source", self)
        _check_bins(self.pt_edges)
        if self.test is not None and self.val is None:
            must = "given with data.source.val, whose events are cut into val and dev"
            check(False, "data.source.test", self.test, must)


@dataclass
class FrozenConfig:
    """A folder of frozen features, ``events/frozen.py``."""

    _target_: str = "headsweep.events.frozen.FrozenFeatures"
    path: str = MISSING
    plane: str = one_of("rz", "xy")
    coils: int | None = within(None, "[1, 1000]")
    pt_edges: list[float] = field(default_factory=lambda: [5.0, 10.0, 20.0, 50.0, 100.0, 200.0])
    min_bin_tracks: int = within(200, "[1, inf)")
    limits: dict[str, Any] = field(default_factory=open_keys)

    def __post_init__(self) -> None:
        check_each("data.source", self)
        _check_bins(self.pt_edges)


@dataclass
class TracksConfig:
    """A directory of Parquet tracks, ``events/parquet_tracks.py``."""

    _target_: str = "headsweep.events.parquet_tracks.ParquetTracks"
    path: str = MISSING
    features: list[str] = MISSING
    scales: dict[str, float] = field(default_factory=open_keys)
    derived: list[str] = field(default_factory=list)
    position: list[str] = field(default_factory=lambda: ["x", "y", "z"])
    plane: str = one_of("xy", "rz")
    coils: int | None = within(None, "[1, 1000]")
    pt_edges: list[float] = MISSING
    min_bin_tracks: int = within(200, "[1, inf)")
    limits: dict[str, Any] = field(default_factory=open_keys)

    def __post_init__(self) -> None:
        check_each("data.source", self)
        _check_bins(self.pt_edges)


def _check_bins(pt_edges: Sequence[float]) -> None:
    ok = len(pt_edges) > 1 and all(a < b < math.inf for a, b in pairwise([0.0, *pt_edges]))
    check(ok, "data.source.pt_edges", pt_edges, "two or more rising numbers above 0")
