"""The typed schema of an experiment: every key, its default and its range live here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from headsweep.errors import UserError

RUNTIME_KEYS = (
    *("root", "name", "device", "workers", "threads", "worker", "tracking", "tracking_uri"),
    *("sweeps", "design", "study", "top"),
)
"""Keys that say how and where to run and what is compared; never part of an identity."""

TABLES = ("arms", "rates")
"""Keys that others are taken from when a job is validated; a job's own configuration lacks them."""

TEST_SEED = 1_000_000
"""Seeds of simulated test samples begin here, above all that a configuration may choose."""

GROUPS = (
    *("data", "data/selection", "backbone", "features", "pooling"),
    *("head", "target", "optim", "arm"),
)
"""The groups whose chosen files label a job."""

STATISTICS = ("avg", "sum", "max", "min")
"""The statistics that pooling takes over the hits of a track, in their default order."""

TARGETS = ("plain", "log_pt", "inverse_pt", "q_over_pt")
"""The parametrisations of the target."""


def _check(ok: bool, key: str, value: object, must: str) -> None:
    if not ok:
        raise UserError(f"{key}={value}: must be {must}")


def _at_least(group: str, node: object, **least: int) -> None:
    """Check the lower limit of each of some numbers, which must be finite."""
    for name, limit in least.items():
        value, key = getattr(node, name), f"{group}.{name}".lstrip(".")
        finite = "" if isinstance(value, int) else " and finite"
        _check(value is None or limit <= value < math.inf, key, value, f"at least {limit}{finite}")


def _positive(group: str, node: object, *names: str) -> None:
    for name in names:
        value = getattr(node, name)
        ok = value in (None, MISSING) or 0 < value < math.inf
        _check(ok, f"{group}.{name}", value, "above 0 and finite")


def _one_of(key: str, value: str, known: Sequence[str]) -> None:
    _check(value in known, key, value, f"one of {', '.join(known)}")


def _check_bins(pt_edges: Sequence[float], min_bin_tracks: int) -> None:
    rising = all(low < high < math.inf for low, high in pairwise([0.0, *pt_edges]))
    key = "data.source.pt_edges"
    _check(rising and len(pt_edges) >= 2, key, pt_edges, "two or more rising numbers above 0")
    _check(min_bin_tracks >= 1, "data.source.min_bin_tracks", min_bin_tracks, "at least 1")


@dataclass
class SplitConfig:
    """Shares of the events; training takes the rest. With ``folds`` dev is fold ``fold``."""

    val: float = 0.2
    dev: float = 0.2
    test: float = 0.0
    seed: int = 0
    folds: int | None = None
    fold: int = 0

    def __post_init__(self) -> None:
        for name in ("val", "dev", "test"):
            value = getattr(self, name)
            _check(0 <= value < 1, f"data.split.{name}", value, "in [0, 1)")
        _check(self.val > 0, "data.split.val", self.val, "above 0")
        _at_least("data.split", self, seed=0, folds=2)
        if self.folds is None:
            _check(self.dev > 0, "data.split.dev", self.dev, "above 0")
            _check(self.fold == 0, "data.split.fold", self.fold, "0 without data.split.folds")
            total = self.val + self.dev + self.test
            _check(total < 1, "data.split.val + dev + test", total, "below 1")
        else:
            _check(0 <= self.fold < self.folds, "data.split.fold", self.fold, "in [0, folds)")


@dataclass
class SelectionConfig:
    """Cuts on true tracks, ``events/selection.py``; by default none. A bound itself is kept."""

    min_hits: int = 0
    min_abs_eta: float = 0.0
    max_abs_eta: float | None = None
    min_pt: float = 0.0
    min_stations: int = 0
    min_station_hits: int = 3

    def __post_init__(self) -> None:
        _at_least("data.selection", self, min_hits=0, min_stations=0, min_station_hits=1)
        _at_least("data.selection", self, min_abs_eta=0, min_pt=0)
        low, high = self.min_abs_eta, self.max_abs_eta
        if high is not None:
            must = "above data.selection.min_abs_eta and finite"
            _check(low < high < math.inf, "data.selection.max_abs_eta", high, must)


@dataclass
class DataConfig:
    """A source of events (``_target_`` and its arguments), its split, and the tracks that count.

    A grid with ``split.folds`` trains every configuration on all folds of ``repeats`` split seeds,
    unless fold or split seed are given.
    """

    source: Any = MISSING
    split: SplitConfig = field(default_factory=SplitConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    repeats: int = 1

    def __post_init__(self) -> None:
        _at_least("data", self, repeats=1)


@dataclass
class SpectrometerConfig:
    """The simulated muon spectrometer, ``events/spectrometer.py``."""

    _target_: str = "headsweep.events.spectrometer.Spectrometer"
    events: int = 15000
    seed: int = 1

    def __post_init__(self) -> None:
        _at_least("data.source", self, events=20)
        must = f"in [0, {TEST_SEED:,}), where the seeds of test samples begin"
        _check(0 <= self.seed < TEST_SEED, "data.source.seed", self.seed, must)


@dataclass
class HepattnConfig:
    """A directory in the ATLAS-muon HDF5 layout, ``events/hepattn.py``."""

    _target_: str = "headsweep.events.hepattn.Hepattn"
    path: str = MISSING
    pt_edges: list[float] = field(default_factory=lambda: [5.0, 10.0, 20.0, 50.0, 100.0, 200.0])
    min_bin_tracks: int = 200

    def __post_init__(self) -> None:
        _check_bins(self.pt_edges, self.min_bin_tracks)


@dataclass
class TracksConfig:
    """A directory of Parquet tracks, ``events/parquet_tracks.py``."""

    _target_: str = "headsweep.events.parquet_tracks.ParquetTracks"
    path: str = MISSING
    features: list[str] = MISSING
    scales: dict[str, float] = field(default_factory=dict)
    derived: list[str] = field(default_factory=list)
    position: list[str] = field(default_factory=lambda: ["x", "y", "z"])
    plane: str = "xy"
    pt_edges: list[float] = MISSING
    min_bin_tracks: int = 200

    def __post_init__(self) -> None:
        _one_of("data.source.plane", self.plane, ("xy", "rz"))
        _check_bins(self.pt_edges, self.min_bin_tracks)


@dataclass
class TransformerConfig:
    """A frozen hit transformer; ``shipped`` is the checkpoint for ``data=spectrometer``."""

    _target_: str = "headsweep.backbone.transformer.load"
    checkpoint: str = "shipped"


@dataclass
class TruthConfig:
    """Assignment from truth; query and encoded vectors are zero, ``backbone/truth.py``."""

    _target_: str = "headsweep.backbone.truth.TruthBackbone"
    purity: float = 1.0
    efficiency: float = 1.0
    seed: int = 0
    dim: int = 32

    def __post_init__(self) -> None:
        for name in ("purity", "efficiency"):
            value = getattr(self, name)
            _check(0 < value <= 1, f"backbone.{name}", value, "in (0, 1]")
        _at_least("backbone", self, dim=1, seed=0)


@dataclass
class FeaturesConfig:
    """Hit features of the head, and the threshold of assignment to a track."""

    name: str = "bending"
    assignment_threshold: float = 0.1

    def __post_init__(self) -> None:
        _one_of("features.name", self.name, ("document", "bending"))
        p = self.assignment_threshold
        _check(0 < p < 1, "features.assignment_threshold", p, "in (0, 1)")


@dataclass
class PoolingConfig:
    """The trained projections, and the vectors and statistics that are pooled."""

    width: str = "full"
    projection: str = "linear"
    activation: str = "silu"
    query: bool = True
    raw: bool = True
    encoded: bool = True
    statistics: list[str] = field(default_factory=lambda: [*STATISTICS])

    def __post_init__(self) -> None:
        _one_of("pooling.width", self.width, ("full", "half"))
        _one_of("pooling.projection", self.projection, ("linear", "mlp"))
        _one_of("pooling.activation", self.activation, ("silu", "swiglu"))
        ok = 0 < len(set(self.statistics)) == len(self.statistics)
        must = f"a non-empty list out of {', '.join(STATISTICS)}, each once"
        _check(
            ok and {*self.statistics} <= {*STATISTICS}, "pooling.statistics", self.statistics, must
        )
        some = self.raw or self.encoded or self.query
        _check(some, "pooling", "nothing", "query, raw or encoded")


@dataclass
class MLPHeadConfig:
    """The document's head, ``heads/mlp.py``; the defaults are the conservative preset."""

    _target_: str = "headsweep.heads.mlp.MLPHead"
    regression_hidden_dim: int | None = None
    regression_num_layers: int = 3
    dropout: float = 0.1
    layer_norm: bool = True

    def __post_init__(self) -> None:
        _at_least("head", self, regression_num_layers=1, regression_hidden_dim=1)
        _check(0 <= self.dropout < 1, "head.dropout", self.dropout, "in [0, 1)")


@dataclass
class TargetConfig:
    """From the truth to the outputs that the head learns, ``training/targets.py``."""

    name: str = "plain"
    relative: bool = False

    def __post_init__(self) -> None:
        _one_of("target.name", self.name, TARGETS)


@dataclass
class OptimConfig:
    """AdamW and its budget; a step is one batch of every member.

    The default of ``lr`` is for heads and arms without an entry in the table ``conf/rates``.
    """

    steps: int = 3200
    batch_size: int = 256
    lr: float = 0.08
    weight_decay: float = 1e-2
    schedule: str = "onecycle"
    patience: int | None = None
    clip: float = 1.0

    def __post_init__(self) -> None:
        _at_least("optim", self, steps=1, batch_size=1, patience=1, weight_decay=0)
        _positive("optim", self, "lr", "clip")
        _one_of("optim.schedule", self.schedule, ("onecycle", "constant", "plateau"))
        if self.schedule == "plateau" and self.patience is None:
            raise UserError("optim.patience is missing: optim.schedule=plateau needs it")
        if self.patience is not None and self.schedule == "onecycle":
            raise UserError(
                f"optim.patience={self.patience}: not with optim.schedule=onecycle, whose rate "
                "only falls at the end; use constant or plateau, or leave patience out"
            )


@dataclass
class WorkerConfig:
    """Limits of each worker of a sweep; ``workers`` is their number."""

    max_retries: int = 2
    time_limit: float | None = None  # seconds of a job

    def __post_init__(self) -> None:
        _at_least("worker", self, max_retries=0)
        _positive("worker", self, "time_limit")


@dataclass
class DesignConfig:
    """Comparisons of a sweep's report, fixed before it runs; the first job is the control.

    Attributes:
        kind: ``control``: every other job with the first; ``path``: each with the one before it;
            ``factorial``: main effects and two-way interactions of keys with two values each, where
            the interactions are a family of their own; ``claims``: the document's six claims
            (report/claims.py), which name their metrics themselves.
        metrics: The primary metrics; each must have a margin (stats/verdict.py).
        comparisons: Raises m, for which intervals are widened, above the number of comparisons.
        split: Where the report reads: ``dev``, or ``test``, for a confirmation and the claims.
    """

    kind: str = "control"
    metrics: list[str] = field(default_factory=lambda: ["qoverpt_r68"])
    comparisons: int | None = None
    split: str = "dev"

    def __post_init__(self) -> None:
        _one_of("design.kind", self.kind, ("control", "path", "factorial", "claims"))
        names = self.metrics
        _check(0 < len(set(names)) == len(names), "design.metrics", names, "one or more, each once")
        _at_least("design", self, comparisons=1)
        _one_of("design.split", self.split, ("dev", "test"))


@dataclass
class Config:
    """One job: a configuration and its seeds (``seed``, ``seed + 1``, .., ``seeds`` of them).

    With ``study`` a grid also trains the ``top`` best trials of that search. ``arms`` are those of
    a sweep, in their order: keys and values of each, or null for a file of ``conf/arm``. ``rates``
    is the table of learning rates.
    """

    data: DataConfig = field(default_factory=DataConfig)
    backbone: Any = MISSING
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    head: Any = MISSING
    target: TargetConfig = field(default_factory=TargetConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=MISSING))  # conf/rates
    seed: int = 0
    seeds: int = 1
    root: str = "runs"
    name: str = ""
    device: str = "cpu"
    workers: int = 2
    threads: int = 1
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    tracking: bool = True
    tracking_uri: str | None = None
    sweeps: Any = None
    arms: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    rates: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    design: DesignConfig = field(default_factory=DesignConfig)
    study: str | None = None
    top: int = 3

    def __post_init__(self) -> None:
        _at_least("", self, seed=0, seeds=1, workers=1, threads=1)
        web = (self.tracking_uri or "http://").startswith(("http://", "https://"))
        _check(web, "tracking_uri", self.tracking_uri, "the http(s) address of a server, or null")


SCHEMAS: tuple[tuple[str, str, Any], ...] = (
    ("data/source", "spectrometer", SpectrometerConfig),
    ("data/source", "hepattn", HepattnConfig),
    ("data/source", "tracks", TracksConfig),
    ("backbone", "transformer", TransformerConfig),
    ("backbone", "truth", TruthConfig),
    ("head", "mlp", MLPHeadConfig),
)
"""Group, short name and schema of everything that a ``_target_`` of ours builds.

A run's identity has the short name, never the path of a module: a class may move, a name stays.
"""


def register() -> None:
    """Make the schema known to Hydra, as ``schema`` and ``<group>/schema_<name>``."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config, replace=True)
    for group, name, node in SCHEMAS:
        store.store(group=group, name=f"schema_{name}", node=node, replace=True)


def config_root() -> Path:
    """The folder that holds ``conf`` and ``sweeps``: in the installed package or the checkout."""
    installed = Path(__file__).parent / "_config"
    return installed if installed.is_dir() else Path(__file__).parents[2]
