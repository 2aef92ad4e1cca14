"""Composition of jobs: from overrides to validated configurations.

Wrong keys, types and values are found here, before anything is written.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import initialize_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from headsweep.config import (
    AUTO,
    GROUPS,
    TABLES,
    Config,
    OptimConfig,
    TruthConfig,
    config_root,
    register,
)
from headsweep.errors import UserError
from headsweep.files import flat
from headsweep.identity import override_key
from headsweep.instantiate import check_allowed, check_node
from headsweep.store.names import check_spelling
from headsweep.sweep.config_files import ConfigFile, check_files, naming_files
from headsweep.sweep.hydra_keys import check_hydra
from headsweep.sweep.internals import JobsLoader, set_values
from headsweep.sweep.messages import short_errors
from headsweep.sweep.overrides import (
    as_override,
    as_overrides,
    as_written,
    is_runtime,
    only_sets_a_value,
    parsed,
)

if TYPE_CHECKING:
    from headsweep.sweep.search.rules import Search

CHOSEN_RATE = "rates.chosen"
"""Key of the rate that the tool chose for a job; what is trained stands in ``optim.lr``."""

OF_SEARCHES = ("first", "take")
"""Keys of the trials that a search begins with."""

ARGUMENTS_OF_CODE = {"head": 2}
"""Number of leading arguments of a class that the code gives (in_dim, out_dim)."""


@dataclass(frozen=True)
class Job:
    """One validated configuration.

    Attributes:
        overrides: What the command line sets, without runtime keys.
        labels: The chosen file of each of ``GROUPS``.
        config: The configuration; a head of the user's own is a plain mapping in it.
        resolved: The same as plain values, as it is stored and hashed; without ``TABLES``.
        auto: True with ``seeds=auto``; its ``seeds`` are then those of the first look.
        given_rate: Whether ``optim.lr`` is given; else it is of the table, or was chosen.
    """

    overrides: list[str]
    labels: dict[str, str]
    config: Config
    resolved: dict[str, Any]
    auto: bool = False
    given_rate: bool = True

    @property
    def seeds(self) -> range:
        """Seeds of its members."""
        return range(self.config.seed, self.config.seed + self.config.seeds)

    @property
    def all_seeds(self) -> range:
        """Seeds that its members may have, up to the last look."""
        most = self.config.looks.most if self.auto else self.config.seeds
        return range(self.config.seed, self.config.seed + most)


@dataclass(frozen=True)
class Sweep:
    """A sweep's configuration, from which its jobs are composed."""

    loader: JobsLoader
    master: DictConfig

    def compose(self, overrides: Sequence[str]) -> Job:
        """The validated job that some overrides make.

        Raises:
            UserError: They do not make one.
        """
        values = [o for o in overrides if only_sets_a_value(parsed(o))]
        others = tuple(o for o in overrides if o not in values)
        known, choices, files = self._files(others)
        with naming_files(files, overrides):
            cfg = copy.deepcopy(known)
            set_values(cfg, [parsed(o) for o in values])
            return validate_job(cfg, choices, overrides)

    def _files(
        self, overrides: tuple[str, ...]
    ) -> tuple[DictConfig, dict[str, Any], list[ConfigFile]]:
        """Composed once, as reading and merging all files takes Hydra 0.2 s; choices and files."""
        hydra = self.master.hydra
        key = (*hydra.overrides.hydra, str(hydra.runtime.choices.get("sweeps")), *overrides)
        if key not in self.loader.composed:
            files = check_files(self.loader, overrides)
            with naming_files(files, overrides):
                cfg = self.loader.load_sweep_config(self.master, list(overrides))
            check_hydra(as_written(cfg.hydra), "MULTIRUN")
            choices = dict(cfg.hydra.runtime.choices)
            with open_dict(cfg):
                del cfg["hydra"]
            self.loader.composed[key] = (cfg, choices, files)
        found: tuple[DictConfig, dict[str, Any], list[ConfigFile]] = self.loader.composed[key]
        return found

    def arguments(self) -> list[str]:
        """``key=value`` of the sweep's arms, of the sweeper's parameters, and of the command line.

        Raises:
            UserError: An arm has keys in the sweep's file, and a file of its own.
        """
        hydra = self.master.hydra
        given = [*as_overrides(hydra.sweeper.params), *as_written(hydra.overrides.task)]
        self._check_arms()
        arms = self.master.arms
        if not arms or "arm" in map(override_key, given):
            return given
        names = [as_override("arm", name).removeprefix("arm=") for name in arms]
        return [f"arm={','.join(names)}", *given]

    def _check_arms(self) -> None:
        """Refuse names that cannot be, and keys of an arm that has a file: Hydra takes the file."""
        files = [source for source in self.loader.get_sources() if source.scheme() == "file"]
        for name, keys in self.master.arms.items():
            check_spelling("arm", str(name))
            found = [source for source in files if source.is_config(f"arm/{name}")]
            if keys is not None and found:
                raise UserError(
                    f"sweeps={self.master.hydra.runtime.choices.sweeps}: arms.{name} has keys, but "
                    f"{found[0].path}/arm/{name}.yaml would be taken; rename one, or write {name}: "
                    "without keys"
                )

    def search(self) -> "Search":
        """The search that it describes.

        Raises:
            UserError: Something cannot be searched, or not so.
        """
        from headsweep.sweep.search.reading import read_search

        hydra = self.master.hydra
        return read_search(
            hydra.sweeper,
            self.arguments(),
            as_written(hydra.overrides.hydra),
            lambda overrides: self.compose(overrides).resolved,
        )


@contextmanager
def loaded_sweep(overrides: Sequence[str], config_dir: str | None) -> Iterator[Sweep]:
    """Load a sweep's configuration once, to compose its jobs from."""
    with open_loader(config_dir) as loader:
        yield load_sweep(loader, overrides)


def load_sweep(loader: JobsLoader, overrides: Sequence[str]) -> Sweep:
    """The sweep of some overrides; ``name`` and ``sweeps`` are among them."""
    with naming_files(check_files(loader, overrides, multirun=True), overrides):
        return Sweep(loader, loader.load_configuration("config", [*overrides], RunMode.MULTIRUN))


def validate_job(cfg: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]) -> Job:
    """Check a composed configuration, ranges and constructors' arguments included.

    Args:
        cfg: As Hydra gives it to a job, without the node ``hydra``.
        choices: Hydra's choices.
        overrides: Hydra's task overrides.

    Raises:
        UserError: Something does not fit; the message names the key.
    """
    with short_errors(), read_write(cfg):
        auto = cfg.seeds == AUTO
        if auto:
            cfg.seeds = cfg.looks.every
        given_rate = not OmegaConf.is_missing(cfg.optim, "lr")
        if not given_rate:
            cfg.optim.lr = cfg.rates.chosen or tuned_rate(cfg.rates.table, choices)
        config = OmegaConf.to_object(cfg)
        resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, Config)
    if config.budget is not None and not auto:
        raise UserError(f"budget={config.budget}: is for seeds=auto")
    check_allowed(config.allow)
    assert isinstance(resolved, dict)
    plain = {str(key): value for key, value in resolved.items() if key not in TABLES}
    added = sorted(flat(plain).keys() - flat(asdict(config)).keys())
    if added:
        raise UserError(f"{added[0]}: no such key")
    for key, node in (
        ("data.source", config.data.source),
        ("backbone", config.backbone),
        ("head", config.head),
    ):
        check_node(key, node, ARGUMENTS_OF_CODE.get(key, 0))
    if isinstance(config.backbone, TruthConfig) and not config.pooling.raw:
        raise UserError(
            "pooling.raw=false: not applicable with backbone=truth, whose query and encoded "
            "vectors are zero; nothing else would be left to learn from"
        )
    config.loss.check_target(config.target)
    return Job(
        overrides=[o for o in overrides if not is_runtime(o) and override_key(o) != CHOSEN_RATE],
        labels={group: str(choices[group]) for group in GROUPS},
        config=config,
        resolved=plain,
        auto=auto,
        given_rate=given_rate,
    )


def tuned_rate(table: Mapping[str, Mapping[str, float]], choices: Mapping[str, Any]) -> float:
    """Learning rate of the table: of the arm, else of the head, else ``OptimConfig.lr``.

    Args:
        table: By ``arm`` and ``head``, then by name.
        choices: The chosen file of each group.
    """
    for group in ("arm", "head"):
        rate = table.get(group, {}).get(choices[group])
        if rate is not None:
            return rate
    return OptimConfig.lr


@contextmanager
def open_loader(config_dir: str | None) -> Iterator[JobsLoader]:
    """Hydra's loader with the search path that ``hydra.main`` builds.

    Raises:
        UserError: A folder of configuration is missing.
    """
    register()
    folders = [config_root() / "conf", *([Path(config_dir).absolute()] if config_dir else [])]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder of configuration")
        for group in (*GROUPS, *TABLES, "sweeps"):
            for file in folder.glob(f"{group}/*.yml"):
                raise UserError(f"{file}: is not read; name it {file.stem}.yaml")
    with initialize_config_search_path([f"file://{f}" for f in folders], job_name="run"):
        yield JobsLoader.of(GlobalHydra.instance().config_loader())


def compose_single(loader: ConfigLoader, overrides: Sequence[str]) -> Job:
    """The validated job of a command line that is no sweep.

    Raises:
        UserError: A key, a type or a value is wrong; the message names the key.
    """
    files = check_files(loader, overrides)
    with naming_files(files, overrides):
        cfg = loader.load_configuration("config", list(overrides), RunMode.RUN)
    check_hydra(as_written(cfg.hydra), "RUN")
    if cfg.study is not None:
        raise UserError(f"study={cfg.study}: goes with sweeps=confirm or sweeps=why")
    for key in OF_SEARCHES:
        if cfg[key]:
            raise UserError(f"{key}={cfg[key]}: is for searches, such as sweeps=search")
    hydra = cfg.hydra
    with open_dict(cfg):
        del cfg["hydra"]
    with naming_files(files, overrides):
        job = validate_job(cfg, hydra.runtime.choices, as_written(hydra.overrides.task))
    if job.auto:
        raise UserError("seeds=auto: is for sweeps, which compare; give a number of seeds")
    return job
