"""The typed schema of an experiment: every key, its default and its range live here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from headsweep.errors import UserError

RUNTIME_KEYS = (
    *("root", "name", "device", "workers", "threads", "worker", "tracking", "tracking_uri"),
    *("sweeps", "design", "study", "top", "allow"),
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
"""The parametrisations of the target, the default first."""


def _within(default: Any, interval: str) -> Any:
    """A key with its default, and the interval that a value must be in, such as ``[0, 1)``."""
    return field(default=default, metadata={"interval": interval})


def _one_of(*known: str) -> Any:
    """A key that must be one of some words, of which the first is the default."""
    return field(default=known[0], metadata={"known": known})


def _open() -> Any:
    """An empty mapping to which a user adds keys, on the command line too."""
    return DictConfig({}, flags={"struct": False})


def _check(ok: bool, key: str, value: object, must: str) -> None:
    if not ok:
        raise UserError(f"{key}={value}: must be {must}")


def _check_each(group: str, node: Any) -> None:
    """Check every key of a part of the schema by what stands beside its default."""
    for item in fields(node):
        value, key = getattr(node, item.name), f"{group}.{item.name}".lstrip(".")
        if "known" in item.metadata:
            known = item.metadata["known"]
            _check(value in known, key, value, f"one of {', '.join(known)}")
        if "interval" in item.metadata and value not in (None, MISSING):
            _check_within(key, value, item.metadata["interval"])


def _check_within(key: str, value: float, interval: str) -> None:
    """Check a number; without an upper limit it must be finite."""
    low, high = (float(end) for end in interval[1:-1].split(", "))
    above = low < value or (interval[0] == "[" and low == value)
    below = value < high or (interval[-1] == "]" and value == high)
    finite = "" if isinstance(value, int) else " and finite"
    least = f"{'at least' if interval[0] == '[' else 'above'} {low:g}{finite}"
    _check(above and below, key, value, least if high == math.inf else f"in {interval}")


def _check_bins(pt_edges: Sequence[float]) -> None:
    ok = len(pt_edges) > 1 and all(a < b < math.inf for a, b in pairwise([0.0, *pt_edges]))
    _check(ok, "data.source.pt_edges", pt_edges, "two or more rising numbers above 0")


@dataclass
class SplitConfig:
    """Shares of the events; training takes the rest. With ``folds`` dev is fold ``fold``."""

    val: float = _within(0.2, "(0, 1)")
    dev: float = _within(0.2, "[0, 1)")
    test: float = _within(0.0, "[0, 1)")
    seed: int = _within(0, "[0, inf)")
    folds: int | None = _within(None, "[2, inf)")
    fold: int = 0

    def __post_init__(self) -> None:
        _check_each("data.split", self)
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

    min_hits: int = _within(0, "[0, inf)")
    min_abs_eta: float = _within(0.0, "[0, inf)")
    max_abs_eta: float | None = None
    min_pt: float = _within(0.0, "[0, inf)")
    min_stations: int = _within(0, "[0, inf)")
    min_station_hits: int = _within(3, "[1, inf)")

    def __post_init__(self) -> None:
        _check_each("data.selection", self)
        low, high = self.min_abs_eta, self.max_abs_eta
        if high is not None:
            must = "above data.selection.min_abs_eta and finite"
            _check(low < high < math.inf, "data.selection.max_abs_eta", high, must)


@dataclass
class DataConfig:
    """A source of events (``_target_`` and its arguments), its split, and the tracks that count.

    A grid with ``split.folds`` trains on all folds of ``repeats`` split seeds unless told which.
    """

    source: Any = MISSING
    split: SplitConfig = field(default_factory=SplitConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    repeats: int = _within(1, "[1, inf)")

    def __post_init__(self) -> None:
        _check_each("data", self)


@dataclass
class SpectrometerConfig:
    """The simulated muon spectrometer, ``events/spectrometer.py``."""

    _target_: str = "headsweep.events.spectrometer.Spectrometer"
    events: int = _within(15000, "[20, inf)")
    seed: int = _within(1, f"[0, {TEST_SEED})")

    def __post_init__(self) -> None:
        _check_each("data.source", self)


@dataclass
class HepattnConfig:
    """A directory in the ATLAS-muon HDF5 layout, ``events/hepattn.py``."""

    _target_: str = "headsweep.events.hepattn.Hepattn"
    path: str = MISSING
    pt_edges: list[float] = field(default_factory=lambda: [5.0, 10.0, 20.0, 50.0, 100.0, 200.0])
    min_bin_tracks: int = _within(200, "[1, inf)")
    limits: dict[str, Any] = field(default_factory=_open)

    def __post_init__(self) -> None:
        _check_each("data.source", self)
        _check_bins(self.pt_edges)


@dataclass
class TracksConfig:
    """A directory of Parquet tracks, ``events/parquet_tracks.py``."""

    _target_: str = "headsweep.events.parquet_tracks.ParquetTracks"
    path: str = MISSING
    features: list[str] = MISSING
    scales: dict[str, float] = field(default_factory=_open)
    derived: list[str] = field(default_factory=list)
    position: list[str] = field(default_factory=lambda: ["x", "y", "z"])
    plane: str = _one_of("xy", "rz")
    pt_edges: list[float] = MISSING
    min_bin_tracks: int = _within(200, "[1, inf)")
    limits: dict[str, Any] = field(default_factory=_open)

    def __post_init__(self) -> None:
        _check_each("data.source", self)
        _check_bins(self.pt_edges)


@dataclass
class TransformerConfig:
    """A frozen hit transformer; ``shipped`` is the checkpoint for ``data=spectrometer``."""

    _target_: str = "headsweep.backbone.transformer.load"
    checkpoint: str = "shipped"


@dataclass
class TruthConfig:
    """Assignment from truth; query and encoded vectors are zero, ``backbone/truth.py``."""

    _target_: str = "headsweep.backbone.truth.TruthBackbone"
    purity: float = _within(1.0, "(0, 1]")
    efficiency: float = _within(1.0, "(0, 1]")
    seed: int = _within(0, "[0, inf)")
    dim: int = _within(32, "[1, inf)")

    def __post_init__(self) -> None:
        _check_each("backbone", self)


@dataclass
class FeaturesConfig:
    """Hit features of the head, and the threshold of assignment to a track."""

    name: str = _one_of("bending", "document")
    assignment_threshold: float = _within(0.1, "(0, 1)")

    def __post_init__(self) -> None:
        _check_each("features", self)


@dataclass
class PoolingConfig:
    """The trained projections, and the vectors and statistics that are pooled."""

    width: str = _one_of("full", "half")
    projection: str = _one_of("linear", "mlp")
    activation: str = _one_of("silu", "swiglu")
    query: bool = True
    raw: bool = True
    encoded: bool = True
    statistics: list[str] = field(default_factory=lambda: [*STATISTICS])

    def __post_init__(self) -> None:
        _check_each("pooling", self)
        chosen = self.statistics
        ok = 0 < len({*chosen}) == len(chosen) and {*chosen} <= {*STATISTICS}
        must = f"a non-empty list out of {', '.join(STATISTICS)}, each once"
        _check(ok, "pooling.statistics", chosen, must)
        some = self.raw or self.encoded or self.query
        _check(some, "pooling", "nothing", "query, raw or encoded")


@dataclass
class MLPHeadConfig:
    """The document's head, ``heads/mlp.py``; the defaults are the conservative preset."""

    _target_: str = "headsweep.heads.mlp.MLPHead"
    regression_hidden_dim: int | None = _within(None, "[1, 65536]")
    regression_num_layers: int = _within(3, "[1, 1000]")
    dropout: float = _within(0.1, "[0, 1)")
    layer_norm: bool = True

    def __post_init__(self) -> None:
        _check_each("head", self)


@dataclass
class TargetConfig:
    """From the truth to the outputs that the head learns, ``training/targets.py``."""

    name: str = _one_of(*TARGETS)
    relative: bool = False

    def __post_init__(self) -> None:
        _check_each("target", self)


@dataclass
class OptimConfig:
    """AdamW and its budget; a step is one batch of every member.

    The default of ``lr`` is for heads and arms without an entry in the table ``conf/rates``.
    """

    steps: int = _within(3200, "[1, inf)")
    batch_size: int = _within(256, "[1, inf)")
    lr: float = _within(0.08, "(0, inf)")
    weight_decay: float = _within(1e-2, "[0, inf)")
    schedule: str = _one_of("onecycle", "constant", "plateau")
    patience: int | None = _within(None, "[1, inf)")
    clip: float = _within(1.0, "(0, inf)")

    def __post_init__(self) -> None:
        _check_each("optim", self)
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

    max_retries: int = _within(2, "[0, inf)")
    time_limit: float | None = _within(None, "(0, inf)")  # seconds of a job

    def __post_init__(self) -> None:
        _check_each("worker", self)


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

    kind: str = _one_of("control", "path", "factorial", "claims")
    metrics: list[str] = field(default_factory=lambda: ["qoverpt_r68"])
    comparisons: int | None = _within(None, "[1, inf)")
    split: str = _one_of("dev", "test")

    def __post_init__(self) -> None:
        _check_each("design", self)
        names = self.metrics
        _check(0 < len(set(names)) == len(names), "design.metrics", names, "one or more, each once")


@dataclass
class Config:
    """One job: a configuration and its seeds (``seed``, ``seed + 1``, .., ``seeds`` of them).

    Attributes:
        sweeps: The question, a file of ``sweeps/``; null for none.
        arms: Arms of the question, the control first: keys and values of each, or null for a file
            of ``conf/arm``. A sweep runs over them in this order unless ``arm`` is given.
        rates: The table of learning rates, by data set, by ``arm`` or ``head``, by name.
        study: A finished search, of which a grid also trains the ``top`` best trials.
    """

    data: DataConfig = field(default_factory=DataConfig)
    backbone: Any = MISSING
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    head: Any = MISSING
    target: TargetConfig = field(default_factory=TargetConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=MISSING))  # conf/rates
    seed: int = _within(0, "[0, inf)")
    seeds: int = _within(1, "[1, inf)")
    root: str = "runs"
    name: str = ""
    device: str = "cpu"
    workers: int = _within(2, "[1, inf)")
    threads: int = _within(1, "[1, inf)")
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    tracking: bool = True
    tracking_uri: str | None = None
    sweeps: Any = None
    arms: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    rates: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    design: DesignConfig = field(default_factory=DesignConfig)
    study: str | None = None
    top: int = 3
    allow: Any = None

    def __post_init__(self) -> None:
        _check_each("", self)
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
