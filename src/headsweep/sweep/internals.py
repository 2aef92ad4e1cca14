"""Private parts of other packages that headsweep uses; a test fails when an upgrade changes one.

Hydra's list of a grid's jobs, its argument parser and its source of files, and the search-space
syntax of the official Optuna sweeper, are the reference that ours must agree with: they are called,
not written again. Its errors do not name the file that is read.
"""

import copy
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, ClassVar

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource as FileConfigSource
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from hydra.types import HydraContext
from omegaconf import Container, OmegaConf

from headsweep.config import config_root

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.config_search_path import ConfigSearchPath
    from omegaconf import DictConfig
    from optuna.distributions import BaseDistribution

FILE = "file://"
"""Scheme of a folder of files in a search path."""

MERGED = ResultDefault("config")
"""Stands in a list of files for those that ``JobsLoader`` has merged."""


def argument_parser() -> ArgumentParser:
    """Hydra's command line."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def grid(overrides: list[Override]) -> list[list[str]]:
    """The overrides of each job of a plain multirun, in Hydra's order."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    [batch] = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [list(job) for job in batch]


class KeptFiles(CachingConfigRepository):
    """Hydra's files of configuration, each read once for all jobs.

    Hydra reads them twice for every job, once for the defaults lists and once to merge them.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "KeptFiles":
        """What Hydra makes for a job, which may change its search path."""
        found = KeptFiles(self.delegate)
        found.cache = self.cache
        return found

    def initialize_sources(self, config_search_path: "ConfigSearchPath") -> None:
        """Take another search path, where other files may have these names."""
        self.cache = {}
        super().initialize_sources(config_search_path)


class JobsLoader(ConfigLoaderImpl):
    """Hydra's loader for many jobs: what all of them begin with is read and merged once.

    Hydra merges the files of a job one after the other: its own, the schema, ``config``, and what
    the job chooses. The first three take three quarters of the time.

    Attributes:
        composed: What ``compose.Sweep`` has composed of files, by its overrides.
    """

    _shipped: ClassVar[dict[str, "JobsLoader"]] = {}
    """Loaders of search paths without a folder of the user's, for the whole process."""

    def __init__(self, loader: "ConfigLoader") -> None:
        """Take the search path of another one."""
        super().__init__(loader.get_search_path())
        self.repository = KeptFiles(self.repository)  # type: ignore[assignment]
        self._begin: list[object] = []
        self._merged: Container = OmegaConf.create()
        self.composed: dict[tuple[str, ...], Any] = {}

    @classmethod
    def of(cls, loader: "ConfigLoader") -> "JobsLoader":
        """The loader on the search path of another one.

        A command needs it several times. Shipped files are those of the installation and stay as
        they are; files in a folder of the user's are read again for each loader.
        """
        path = loader.get_search_path()
        shipped = config_root() / "conf"
        folders = [entry.path or "" for entry in path.get_path()]
        if any(Path(f.removeprefix(FILE)) != shipped for f in folders if f.startswith(FILE)):
            return cls(loader)
        if str(path) not in cls._shipped:
            cls._shipped[str(path)] = cls(loader)
        return cls._shipped[str(path)]

    def _compose_config_from_defaults_list(
        self, defaults: list[ResultDefault], repo: IConfigRepository
    ) -> "DictConfig":
        """Merge files; those up to ``config`` only where they are others than before."""
        compose = super()._compose_config_from_defaults_list
        own = 1 + next(i for i, default in enumerate(defaults) if default.primary)
        begin = [*(source.path for source in repo.get_sources()), *defaults[:own]]
        if begin != self._begin:
            self._begin, self._merged = begin, compose(defaults[:own], repo)
        return compose([MERGED, *defaults[own:]], repo)

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        """A copy of a file's content, or of what was merged: Hydra merges others into it."""
        if default is MERGED:
            return ConfigResult("", "", copy.deepcopy(self._merged), {"package": ""})
        found = super()._load_single_config(default, repo)
        kept = repo.load_config(str(default.config_path))
        assert kept is not None
        if found.config is kept.config:  # else it has been copied into its package
            found = replace(found, config=copy.deepcopy(kept.config))
        return found


def set_values(config: "DictConfig", overrides: list[Override]) -> None:
    """Change values of a composed configuration, which is the last that composing does."""
    ConfigLoaderImpl._apply_overrides_to_config(overrides, config)


def search_space(arguments: list[str]) -> "tuple[dict[str, BaseDistribution], list[str]]":
    """Distributions of the searched keys, and the overrides that all trials share."""
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

    found: tuple[dict[str, Any], dict[str, Any], Sequence[str]] = create_params_from_overrides(
        arguments
    )
    space, fixed, others = found
    kept = {key: value for key, value in space.items() if key not in fixed}
    return kept, [*(f"{key}={value}" for key, value in fixed.items()), *others]


def launcher_context(loader: "ConfigLoader") -> HydraContext:
    """What Hydra gives its launchers: nothing is called back, and nothing built from files."""
    from hydra._internal.callbacks import Callbacks

    return HydraContext(loader, Callbacks(), ())


def file_being_read(error: BaseException) -> Path | None:
    """The file that Hydra was reading when an error arose: errors of text and headers lack it."""
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code is FileConfigSource.load_config.__code__:
            return Path(frame.f_locals["full_path"])
    return None


def endless_default(error: RecursionError) -> str | None:
    """Group and name of a file that is among its own defaults, such as ``arm/mine``."""
    for frame, _ in reversed(list(walk_tb(error.__traceback__))):
        if frame.f_code.co_name == "_create_defaults_tree_impl" and "path" in frame.f_locals:
            return str(frame.f_locals["path"])
    return None
