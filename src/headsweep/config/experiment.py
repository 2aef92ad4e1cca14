"""The keys of an experiment: model, training, comparisons, and how to run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from headsweep.config.data import (
    DataConfig,
    FrozenConfig,
    HepattnConfig,
    SpectrometerConfig,
    TracksConfig,
)
from headsweep.config.ranges import check, check_each, one_of, within
from headsweep.config.sweep import DesignConfig, LooksConfig, RatesConfig
from headsweep.errors import UserError

RUNTIME_KEYS = (
    *("root", "name", "device", "workers", "threads", "worker", "tracking", "tracking_uri"),
    *("sweeps", "design", "looks", "budget", "study", "top", "first", "take", "allow"),
)
"""Keys that say how and where to run and what is compared; never part of an identity."""

TABLES = ("arms", "rates")
"""Keys that others are taken from when a job is validated; a job's own configuration lacks them."""

GROUPS = (
    *("data", "data/selection", "backbone", "features", "pooling"),
    *("head", "target", "loss", "optim", "arm"),
)
"""The groups whose chosen files label a job."""

STATISTICS = ("avg", "sum", "max", "min")
"""The statistics that pooling takes over the hits of a track, in their default order."""

AUTO = "auto"
"""Value of ``seeds`` where looks at growing numbers of them decide how many are trained."""

_BUDGET = re.compile(r"[0-9]+(\.[0-9]+)?(s|min|h)")

TARGETS = ("plain", "log_pt", "inverse_pt", "q_over_pt")
"""The parametrisations of the target, the default first."""

QUANTITIES = ("eta", "phi", "pt", "q")
"""What the outputs of a target stand for; the one of ``q_over_pt`` stands for pt."""


@dataclass
class TransformerConfig:
    """A frozen hit transformer; ``shipped`` is the checkpoint for ``data=spectrometer``."""

    _target_: str = "headsweep.backbone.transformer.load"
    checkpoint: str = "shipped"


@dataclass
class TruthConfig:
    """Assignment from truth; query and encoded vectors are zero, ``backbone/truth.py``."""

    _target_: str = "headsweep.backbone.truth.TruthBackbone"
    purity: float = within(1.0, "(0, 1]")
    efficiency: float = within(1.0, "(0, 1]")
    seed: int = within(0, "[0, inf)")
    dim: int = within(32, "[1, inf)")

    def __post_init__(self) -> None:
        check_each("backbone", self)


@dataclass
class RecordedConfig:
    """The transformer that wrote a folder of frozen features, ``backbone/recorded.py``."""

    _target_: str = "headsweep.backbone.recorded.RecordedBackbone"
    path: str = MISSING


@dataclass
class FeaturesConfig:
    """Hit features of the head, and the threshold of assignment to a track."""

    name: str = one_of("bending", "document", "harmonics")
    assignment_threshold: float = within(0.1, "(0, 1)")

    def __post_init__(self) -> None:
        check_each("features", self)


@dataclass
class PoolingConfig:
    """The trained projections, and the vectors and statistics that are pooled."""

    width: str = one_of("full", "half")
    projection: str = one_of("linear", "mlp")
    activation: str = one_of("silu", "swiglu")
    query: bool = True
    raw: bool = True
    encoded: bool = True
    analytic: bool = False
    statistics: list[str] = field(default_factory=lambda: [*STATISTICS])

    def __post_init__(self) -> None:
        check_each("pooling", self)
        chosen = self.statistics
        ok = 0 < len({*chosen}) == len(chosen) and {*chosen} <= {*STATISTICS}
        must = f"a non-empty list out of {', '.join(STATISTICS)}, each once"
        check(ok, "pooling.statistics", chosen, must)
        some = self.raw or self.encoded or self.query or self.analytic
        check(some, "pooling", "nothing", "query, raw, encoded or analytic")


@dataclass
class MLPHeadConfig:
    """The document's head, ``heads/mlp.py``; the defaults are the conservative preset."""

    _target_: str = "headsweep.heads.mlp.MLPHead"
    regression_hidden_dim: int | None = within(None, "[1, 65536]")
    regression_num_layers: int = within(3, "[1, 1000]")
    dropout: float = within(0.1, "[0, 1)")
    layer_norm: bool = True

    def __post_init__(self) -> None:
        check_each("head", self)


@dataclass
class DenseHeadConfig:
    """hepattn's ``Dense`` as a head, ``heads/dense.py``: what it had before its MLP head."""

    _target_: str = "headsweep.heads.dense.DenseHead"
    activation: str = one_of("swiglu", "silu")

    def __post_init__(self) -> None:
        check_each("head", self)


@dataclass
class TargetConfig:
    """From the truth to the outputs that the head learns, ``training/targets.py``."""

    name: str = one_of(*TARGETS)
    relative: bool = False
    standardise: bool = True
    pt_unit: float = within(1.0, "(0, inf)")  # GeV
    phi: str = one_of("angle", "sincos")
    analytic: bool = False

    def __post_init__(self) -> None:
        check_each("target", self)
        inert = self.standardise and self.pt_unit != 1
        check(not inert, "target.pt_unit", self.pt_unit, "1 where targets are standardised")
        if self.relative and self.phi == "sincos":
            raise UserError(
                "target.phi=sincos: not with target.relative=true, whose angles are small and have "
                "no jump at +-pi"
            )


@dataclass
class LossWeightsConfig:
    """Weight of each output in the mean over the outputs."""

    eta: float = within(1.0, "[0, inf)")
    phi: float = within(1.0, "[0, inf)")
    pt: float = within(1.0, "[0, inf)")
    q: float = within(1.0, "[0, inf)")

    def __post_init__(self) -> None:
        check_each("loss.weights", self)


@dataclass
class LossScaleConfig:
    """Factor of each output's error before SmoothL1."""

    eta: float = within(1.0, "(0, inf)")
    phi: float = within(1.0, "(0, inf)")
    pt: float = within(1.0, "(0, inf)")
    q: float = within(1.0, "(0, inf)")

    def __post_init__(self) -> None:
        check_each("loss.scale", self)


@dataclass
class LossConfig:
    """From outputs and targets to the number that a training minimises, ``training/loss.py``.

    The default is the document's: SmoothL1 with beta 1, mean over the outputs, then the tracks.
    """

    name: str = one_of("smooth_l1", "gaussian", "quantile")
    beta: float = within(1.0, "(0, inf)")
    weights: LossWeightsConfig = field(default_factory=LossWeightsConfig)
    scale: LossScaleConfig = field(default_factory=LossScaleConfig)
    charge: str = one_of("regression", "bce")

    def __post_init__(self) -> None:
        check_each("loss", self)
        if isinstance(self.weights, Mapping):  # as a file has it
            self.weights = LossWeightsConfig(**self.weights)
        if isinstance(self.scale, Mapping):
            self.scale = LossScaleConfig(**self.scale)

    def check_target(self, target: TargetConfig) -> None:
        """Refuse a target that this loss is not for.

        Raises:
            UserError: It has no charge output for a cross-entropy, or all its weights are 0; or the
                loss gives uncertainties, which the analytic estimate has not.
        """
        if target.analytic and self.name != "smooth_l1":
            raise UserError(
                f"target.analytic=true: not with loss={self.name}, as the analytic estimate has no "
                "uncertainty; use loss.name=smooth_l1"
            )
        kappa = target.name == "q_over_pt"
        if self.charge == "bce" and kappa:
            raise UserError(
                "loss.charge=bce: not with target.name=q_over_pt, which has no charge output; use "
                "plain, log_pt or inverse_pt"
            )
        own = [getattr(self.weights, name) for name in QUANTITIES[: 3 if kappa else 4]]
        check(any(own), "loss.weights", own, "above 0 for at least one output")


@dataclass
class OptimConfig:
    """AdamW and its budget; a step is one batch of every member.

    The default of ``lr`` is for heads and arms without an entry in the table of ``conf/rates``.
    """

    steps: int = within(3200, "[1, inf)")
    batch_size: int = within(256, "[1, inf)")
    lr: float = within(0.08, "(0, inf)")
    weight_decay: float = within(1e-2, "[0, inf)")
    schedule: str = one_of("onecycle", "constant", "plateau")
    patience: int | None = within(None, "[1, inf)")
    clip: float = within(1.0, "(0, inf)")

    def __post_init__(self) -> None:
        check_each("optim", self)
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

    capacity: int = within(1, "[1, 1000]")
    max_retries: int = within(2, "[0, inf)")
    time_limit: float | None = within(None, "(0, inf)")  # seconds of a job

    def __post_init__(self) -> None:
        check_each("worker", self)


@dataclass
class Config:
    """One job: a configuration and its seeds (``seed``, ``seed + 1``, .., ``seeds`` of them).

    Attributes:
        seeds: Their number. With ``auto``, in a sweep that compares, those that are needed: a
            comparison is looked at every ``looks.every`` seeds until it is decided.
        budget: Time after which ``seeds=auto`` begins no more trainings, such as ``2h``, ``90min``.
        sweeps: The question, a file of ``sweeps/``; null for none.
        arms: Arms of the question, the control first: keys and values of each, or null for a file
            of ``conf/arm``. A sweep runs over them in this order unless ``arm`` is given.
        rates: Where learning rates come from that are not given.
        study: A finished search, of which a grid also trains the ``top`` best trials.
        first: Heads that are the first trials of a search, as far as they lie in its space.
        take: Another search, whose finished trials are taken over as far as they lie in the space.
    """

    data: DataConfig = field(default_factory=DataConfig)
    backbone: Any = MISSING
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    head: Any = MISSING
    target: TargetConfig = field(default_factory=TargetConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=MISSING))  # conf/rates
    seed: int = within(0, "[0, inf)")
    seeds: Any = 1
    looks: LooksConfig = field(default_factory=LooksConfig)
    budget: str | None = None
    root: str = "runs"
    name: str = ""
    device: str = "cpu"
    workers: int = within(2, "[0, inf)")
    threads: int = within(1, "[1, inf)")
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    tracking: bool = True
    tracking_uri: str | None = None
    sweeps: Any = None
    arms: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    rates: RatesConfig = field(default_factory=RatesConfig)
    design: DesignConfig = field(default_factory=DesignConfig)
    study: str | None = None
    top: int = 3
    first: list[str] = field(default_factory=list)
    take: str | None = None
    allow: Any = None

    def __post_init__(self) -> None:
        check_each("", self)
        whole = isinstance(self.seeds, int) and not isinstance(self.seeds, bool)
        some = self.seeds == AUTO or (whole and 1 <= self.seeds <= 10**6)
        check(some, "seeds", self.seeds, "a whole number in [1, 1e6], or auto")
        time = self.budget is None or _BUDGET.fullmatch(self.budget)
        check(bool(time), "budget", self.budget, "a time, such as 2h, 90min or 30s")
        web = (self.tracking_uri or "http://").startswith(("http://", "https://"))
        check(web, "tracking_uri", self.tracking_uri, "the http(s) address of a server, or null")


SCHEMAS: tuple[tuple[str, str, Any], ...] = (
    ("data/source", "spectrometer", SpectrometerConfig),
    ("data/source", "hepattn", HepattnConfig),
    ("data/source", "tracks", TracksConfig),
    ("data/source", "frozen", FrozenConfig),
    ("backbone", "transformer", TransformerConfig),
    ("backbone", "truth", TruthConfig),
    ("backbone", "recorded", RecordedConfig),
    ("head", "mlp", MLPHeadConfig),
    ("head", "dense", DenseHeadConfig),
)
"""Group, short name and schema of everything that a ``_target_`` of ours builds.

A run's identity has the short name, never the path of a module: a class may move, a name stays.
"""


@cache
def register() -> None:
    """Make the schema known to Hydra, as ``schema`` and ``<group>/schema_<name>``."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config, replace=True)
    for group, name, node in SCHEMAS:
        store.store(group=group, name=f"schema_{name}", node=node, replace=True)


def config_root() -> Path:
    """The folder that holds ``conf`` and ``sweeps``: in the installed package or the checkout."""
    installed = Path(__file__).parents[1] / "_config"
    return installed if installed.is_dir() else Path(__file__).parents[3]
