"""Hydra's sweeper ``headsweep``: a thin shell, so that listing plugins stays quick."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.config import OptunaSweeperConf
from omegaconf import MISSING, DictConfig

if TYPE_CHECKING:
    from headsweep.sweep.rounds import Standing


class HeadsweepSweeper(Sweeper):
    """Runs a grid, or with ``n_trials`` a search; both can be killed and go on.

    Args:
        options: The node ``hydra.sweeper``, which is read from the configuration.
    """

    def __init__(self, **options: Any) -> None:
        pass

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra knows; ``task_function`` is for one configuration."""
        self.config = config
        self.hydra_context = hydra_context

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep, with the arguments as they stand in the configuration."""
        from headsweep.sweep.runner import run_sweep

        assert self.hydra_context is not None
        assert self.config is not None
        run_sweep(self.hydra_context.config_loader, self.config, _look)


def _look(folder: Path) -> "Standing":
    """``find_standing``, imported when it is needed: scoring loads torch."""
    from headsweep.report.standing import find_standing

    return find_standing(folder)


@dataclass
class HeadsweepConf(OptunaSweeperConf):
    """``hydra/sweeper=headsweep``: the official Optuna sweeper's keys, and what it lacks.

    Attributes:
        n_trials: Length of a search; null for a grid of all combinations.
        pruner: Ends trials that are worse than others were; ``hydra/sweeper/pruner=none`` for none.
        objective: Metrics on the validation split, means over the seeds; the first is pruned on.
        lag: A trial knows the results of those numbered below its own number less ``lag``.
        max_failures: So many failures in a row end the search; null for never.
    """

    _target_: str = "hydra_plugins.headsweep.sweeper.HeadsweepSweeper"
    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "tpe"}, {"pruner": "median"}])
    direction: Any = "minimize"
    n_trials: int | None = None  # type: ignore[assignment]
    pruner: Any = MISSING
    objective: Any = field(default_factory=lambda: ["val_qoverpt_r68"])
    lag: int = 4
    max_failures: int | None = 5


@dataclass
class MedianConf:
    """Ends a trial that is worse than the median of earlier ones at the same step."""

    _target_: str = "optuna.pruners.MedianPruner"
    n_startup_trials: int = 5
    warmup_share: float = 0.25  # benchmarks/search
    interval_share: float = 0.0
    n_min_trials: int = 1
    n_warmup_steps: Any = None  # refused as the next: shares mean the same for all steps
    interval_steps: Any = None


@dataclass
class PercentileConf:
    """The same with another share than a half: ``percentile`` of the trials may go on."""

    _target_: str = "optuna.pruners.PercentilePruner"
    percentile: float = 25.0
    n_startup_trials: int = 5
    warmup_share: float = 0.25
    interval_share: float = 0.0
    n_min_trials: int = 1
    n_warmup_steps: Any = None
    interval_steps: Any = None


@dataclass
class AshaConf:
    """Asynchronous successive halving."""

    _target_: str = "optuna.pruners.SuccessiveHalvingPruner"
    warmup_share: float = 0.0625
    reduction_factor: int = 4
    min_early_stopping_rate: int = 0
    min_resource: Any = None  # refused


@dataclass
class NoPrunerConf:
    """Trains every trial to its end."""

    _target_: str = "optuna.pruners.NopPruner"


def _register() -> None:
    store = ConfigStore.instance()
    for group, name, node in (
        ("hydra/sweeper", "headsweep", HeadsweepConf),
        ("hydra/sweeper/pruner", "median", MedianConf),
        ("hydra/sweeper/pruner", "percentile", PercentileConf),
        ("hydra/sweeper/pruner", "asha", AshaConf),
        ("hydra/sweeper/pruner", "none", NoPrunerConf),
    ):
        store.store(group=group, name=name, node=node, provider="headsweep")


_register()
