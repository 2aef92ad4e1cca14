"""From a command line to the jobs it would run, each composed and validated.

Whatever a wrong key, type or value can break is found here, before anything is written.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import initialize_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from headsweep.config import GROUPS, Config, DesignConfig, TruthConfig, config_root, register
from headsweep.errors import UserError
from headsweep.files import flat
from headsweep.identity import identity
from headsweep.instantiate import check_node
from headsweep.store import paths
from headsweep.sweep.claim_roles import find_roles
from headsweep.sweep.internals import grid, set_values
from headsweep.sweep.overrides import (
    is_runtime,
    only_sets_a_value,
    parse,
    parsed,
    runtime_values,
    short_errors,
    sweep_name,
)

if TYPE_CHECKING:
    from headsweep.sweep.search.finalists import Finalists
    from headsweep.sweep.search.rules import Search

SWEEPER = "hydra_plugins.headsweep.sweeper.HeadsweepSweeper"
"""Ours; another may be chosen, but is not what these pages promise."""

LEADING = {"head": 2}
"""How many leading arguments the code gives to what a key builds (in_dim, out_dim)."""

LUCK = ("seed", "seeds", "data.source.seed", "data.split.seed", "data.split.fold", "backbone.seed")
"""Keys that a search may not choose: it would find the luckiest sample."""


@dataclass(frozen=True)
class Job:
    """One validated configuration.

    Attributes:
        overrides: What the command line sets, without runtime keys.
        labels: The chosen file of each of ``GROUPS``.
        config: The configuration; a head of the user's own is a plain mapping in it.
        resolved: The same as plain values, as it is stored and hashed.
    """

    overrides: list[str]
    labels: dict[str, str]
    config: Config
    resolved: dict[str, Any]

    @property
    def seeds(self) -> range:
        """Seeds of its members."""
        return range(self.config.seed, self.config.seed + self.config.seeds)


@dataclass(frozen=True)
class Plan:
    """What a command line asks for.

    Attributes:
        jobs: One run, or the jobs of a grid in Hydra's order and numbers, or of a search its fixed
            part and each parameter at the ends of its range.
        folder: The folder of the sweep; None for one run.
        trials: Length of a search, else None.
        spec: What identifies the sweep (``runs.claim_sweep``); empty for one run.
        batches: For each job of a grid the overrides that make it from the sweep.
        search: The rules of a search.
        finalists: Of a confirmation, the trials that its last jobs train again.
    """

    jobs: list[Job]
    folder: Path | None = None
    trials: int | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    batches: list[list[str]] = field(default_factory=list)
    search: "Search | None" = None
    finalists: "Finalists | None" = None


@dataclass(frozen=True)
class Sweep:
    """A sweep's configuration, from which its jobs are composed."""

    loader: ConfigLoader
    master: DictConfig
    _known: dict[tuple[str, ...], tuple[DictConfig, dict[str, Any]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def compose(self, overrides: Sequence[str]) -> Job:
        """The validated job that some overrides make.

        Raises:
            UserError: They do not make one.
        """
        values = [o for o in overrides if only_sets_a_value(parsed(o))]
        others = tuple(o for o in overrides if o not in values)
        with short_errors():
            known, choices = self._files(others)
            cfg = copy.deepcopy(known)
            set_values(cfg, [parsed(o) for o in values])
        return validate(cfg, choices, overrides)

    def _files(self, overrides: tuple[str, ...]) -> tuple[DictConfig, dict[str, Any]]:
        """Composed once, as reading and merging all files takes Hydra 0.1 s; with its choices."""
        if overrides not in self._known:
            cfg = self.loader.load_sweep_config(self.master, list(overrides))
            choices = dict(cfg.hydra.runtime.choices)
            with open_dict(cfg):
                del cfg["hydra"]
            self._known[overrides] = (cfg, choices)
        return self._known[overrides]

    def arguments(self) -> list[str]:
        """``key=value`` of the sweeper's parameters and of the command line."""
        params = (self.master.hydra.sweeper.params or {}).items()
        return [*(f"{key}={value}" for key, value in params), *self.master.hydra.overrides.task]

    def search(self) -> "Search":
        """The search that it describes.

        Raises:
            UserError: Something cannot be searched, or not so.
        """
        from headsweep.sweep.search.rules import read_search

        hydra = self.master.hydra
        return read_search(hydra.sweeper, self.arguments(), hydra.overrides.hydra)


def make_plan(overrides: Sequence[str], multirun: bool, config_dir: str | None = None) -> Plan:
    """Compose and validate all jobs of a command line.

    Args:
        overrides: Hydra overrides, as the user gave them.
        multirun: Whether they describe a sweep.
        config_dir: One more folder of configuration (``--config-dir``).

    Raises:
        UserError: A key, a type or a value is wrong; the message names the key.
    """
    name = runtime_values(overrides).get("name")  # also refuses what Hydra would let pass
    if name and not multirun:
        raise UserError(
            f"name={name}: names a sweep; a single configuration is kept under its key: leave name "
            "out, or make it a sweep with -m or sweeps="
        )
    with _loader(config_dir) as loader:
        if not multirun:
            with short_errors():
                cfg = loader.load_configuration("config", list(overrides), RunMode.RUN)
            if cfg.study is not None:
                raise UserError(f"study={cfg.study}: goes with sweeps=confirm")
            return Plan(jobs=[_job(cfg)])
        name = f"name={sweep_name(overrides)}"
        return plan_sweep(_load_sweep(loader, [name, *overrides]))


@contextmanager
def open_sweep(overrides: Sequence[str], config_dir: str | None) -> Iterator[Sweep]:
    """Load a sweep's configuration once, to compose its jobs from."""
    with _loader(config_dir) as loader:
        yield _load_sweep(loader, overrides)


def _load_sweep(loader: ConfigLoader, overrides: Sequence[str]) -> Sweep:
    with short_errors():
        return Sweep(loader, loader.load_configuration("config", [*overrides], RunMode.MULTIRUN))


def validate(cfg: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]) -> Job:
    """Check a composed configuration, ranges and constructors' arguments included.

    Args:
        cfg: As Hydra gives it to a job, without the node ``hydra``.
        choices: Hydra's choices.
        overrides: Hydra's task overrides.

    Raises:
        UserError: Something does not fit; the message names the key.
    """
    with short_errors():
        config = OmegaConf.to_object(cfg)
        resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, Config)
    assert isinstance(resolved, dict)
    plain = {str(key): value for key, value in resolved.items()}
    added = sorted(flat(plain).keys() - flat(asdict(config)).keys())
    if added:
        raise UserError(f"{added[0]}: no such key")
    for key, node in (
        ("data.source", config.data.source),
        ("backbone", config.backbone),
        ("head", config.head),
    ):
        check_node(key, node, LEADING.get(key, 0))
    if isinstance(config.backbone, TruthConfig) and not config.pooling.raw:
        raise UserError(
            "pooling.raw=false: not applicable with backbone=truth, whose query and encoded "
            "vectors are zero; nothing else would be left to learn from"
        )
    return Job(
        overrides=[o for o in overrides if not is_runtime(o)],
        labels={group: str(choices[group]) for group in GROUPS},
        config=config,
        resolved=plain,
    )


@contextmanager
def _loader(config_dir: str | None) -> Iterator[ConfigLoader]:
    """Hydra's loader with the search path that ``hydra.main`` builds."""
    register()
    folders = [config_root() / "conf", *([Path(config_dir).absolute()] if config_dir else [])]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder of configuration")
    with initialize_config_search_path([f"file://{f}" for f in folders], job_name="run"):
        yield GlobalHydra.instance().config_loader()


def _job(cfg: DictConfig) -> Job:
    """Validate a configuration that still has its node ``hydra``."""
    hydra = cfg.hydra
    with open_dict(cfg):
        del cfg["hydra"]
    return validate(cfg, hydra.runtime.choices, hydra.overrides.task)


def distinct(jobs: Sequence[Job]) -> list[str]:
    """What each of several jobs has that not all of them have; of a single job all but seeds."""
    shared = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs[1:]))
    if len(jobs) == 1:
        shared = {o for o in shared if o.startswith("seeds=")}
    return [" ".join(o for o in job.overrides if o not in shared) for job in jobs]


def plan_sweep(sweep: Sweep) -> Plan:
    """Compose and validate all jobs of a grid, or those that stand for a search's ranges.

    Raises:
        UserError: A key, a type or a value is wrong; the message names the key.
    """
    master = sweep.master
    folder = paths.sweep_folder(Path(master.root), master.name)
    arguments = parse(sweep.arguments(), sweep.loader)
    sweeper = master.hydra.sweeper
    if sweeper.get("n_trials") is None:  # Hydra's own sweeper has no such key
        _refuse_intervals(arguments)
        batches, finalists = grid(arguments), None
        if master.study is not None:
            from headsweep.sweep.search.finalists import choose

            own = [o.input_line for o in arguments if not o.is_sweep_override()]
            finalists = choose(Path(master.root), master.study, master.top)
            batches = finalists.batches(batches, [o for o in own if o is not None])
        for override in arguments:
            if override.get_key_element() in ("seed", "seeds") and override.is_sweep_override():
                raise UserError(
                    f"{override.input_line}: use seeds=N, which trains N seeds of a job"
                )
        jobs = [sweep.compose(batch) for batch in batches]
        config = jobs[0].config
        _check_design(jobs, confirms=finalists is not None)
        design = asdict(config.design)
        if config.design.split == "dev":
            del design["split"]  # a sweep of an earlier version goes on
        spec = {"seed": config.seed, "seeds": config.seeds, "design": design, **_grid(jobs)}
        if finalists is not None:
            first = len(jobs) - len(finalists.best)
            seeds = range(config.seed, config.seed + config.seeds)
            finalists.check([job.resolved for job in jobs[first:]], seeds)
            spec["confirm"] = finalists.spec(first)
        return Plan(jobs, folder, spec=spec, batches=batches, finalists=finalists)
    if master.study is not None:
        raise UserError(f"study={master.study}: goes with sweeps=confirm, not with another search")
    ranges = {o.get_key_element(): o for o in arguments if o.is_sweep_override()}
    fixed = {o.get_key_element(): o for o in arguments if not o.is_sweep_override()}
    ranges = {key: value for key, value in ranges.items() if key not in fixed}
    jobs = list(_search_jobs(sweep, ranges, fixed))
    if sweeper._target_ != SWEEPER:
        return Plan(jobs, folder, trials=sweeper.n_trials)
    search, config = sweep.search(), jobs[0].config
    spec = {
        "n_trials": search.n_trials,
        "first_seed": config.seed,
        "seeds_per_trial": config.seeds,
        **search.spec(),
        "config": identity(jobs[0].resolved),
    }
    return Plan(jobs, folder, trials=search.n_trials, spec=spec, search=search)


def _check_design(jobs: Sequence[Job], confirms: bool) -> None:
    design = jobs[0].config.design
    _check_metrics(design.metrics)
    if design.kind == "claims":
        find_roles([job.resolved for job in jobs])
    elif design.split == "test" and not confirms:
        raise UserError("study is missing: give study=NAME, a search that is to be confirmed")


def _check_metrics(names: Sequence[str]) -> None:
    if names == DesignConfig().metrics:
        return  # scipy, which comes with the margins, takes its time
    from headsweep.stats.verdict import MARGINS

    known = [name for name in MARGINS if name != "sd_ratio"]
    for name in names:
        if name not in known:
            raise UserError(f"design.metrics: {name} has no margin; one of {', '.join(known)}")


def _refuse_intervals(arguments: Sequence[Override]) -> None:
    for override in arguments:
        if override.is_interval_sweep():
            raise UserError(
                f"{override.input_line}: an interval is searched, not listed; give the number of "
                "trials, hydra.sweeper.n_trials=N"
            )


def _grid(jobs: Sequence[Job]) -> dict[str, Any]:
    """What all jobs of a grid share, and what each has of its own."""
    all_keys = [flat(identity(job.resolved)) for job in jobs]
    shared = {
        key: value
        for key, value in all_keys[0].items()
        if all(key in other and other[key] == value for other in all_keys)
    }
    own = [{key: v for key, v in keys.items() if key not in shared} for keys in all_keys]
    names = [f"{number} {label}" for number, label in enumerate(distinct(jobs))]
    return {"jobs": dict(zip(names, own, strict=True)), "config": shared}


def _search_jobs(
    sweep: Sweep, ranges: Mapping[str, Override], fixed: Mapping[str, Override]
) -> Iterator[Job]:
    """The fixed part of a search, then each parameter at values that stand for its range."""
    common = [f"{key}={value.get_value_element_as_str()}" for key, value in fixed.items()]

    def compose(*overrides: str) -> Job:
        return sweep.compose([*common, *overrides])

    yield compose()
    for key, override in ranges.items():
        if key in LUCK or key.startswith(("data.selection", "data/selection")):
            raise UserError(
                f"{override.input_line}: a search would choose the luckiest sample; seeds=N gives "
                "every trial N seeds to average over"
            )
        for value in _samples(override):
            try:
                yield compose(f"{key}={value}")
            except UserError:
                if isinstance(value, float) and _all_fit(compose, key, floor(value), ceil(value)):
                    raise UserError(
                        f"{override.input_line}: samples fractions, but {key} is an integer; use "
                        f"{key}=int(interval(A, B)), or tag(log, int(interval(A, B)))"
                    ) from None
                raise


def _all_fit(compose: Callable[[str], Job], key: str, *values: int) -> bool:
    try:
        return all(compose(f"{key}={value}") for value in values)
    except UserError:
        return False


def _samples(override: Override) -> list[Any]:
    """All values of a choice; of a range its ends, and for fractions a point in between."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        start, end = value.start, value.end
        assert start is not None
        assert end is not None
        if start >= end:
            raise UserError(f"{override.input_line}: the interval must rise")
        between = [round(start + (end - start) * 0.382, 6)] if isinstance(start, float) else []
        return [start, *between, end]
    values: list[Any] = list(override.sweep_string_iterator())
    if not values:
        raise UserError(f"{override.input_line}: there is nothing in this range")
    return values if isinstance(value, ChoiceSweep) else [values[0], values[-1]]
