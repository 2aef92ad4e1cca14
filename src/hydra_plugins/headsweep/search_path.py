"""Config source of the folder ``sweeps/``: the group ``sweeps``, and the arms in its files."""

import builtins
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from headsweep.config import config_root
from headsweep.errors import UserError
from headsweep.store.names import is_name
from headsweep.sweep.internals import FILE, FileConfigSource

ARM_GROUPS = ("head", "target", "loss", "pooling", "features")
"""Groups of which an arm may choose a file."""


class SweepsSource(FileConfigSource):
    """Hydra's source of two groups, ``sweeps`` and ``arm``, in the folder above ``conf``.

    ``sweeps`` has its files. ``arm`` has every arm that a file of a ``sweeps`` folder defines under
    its key ``arms``, those in the user's own folder of configuration included. A plain ``file://``
    source would offer every folder of a checkout as a group.
    """

    search_path: ClassVar[ConfigSearchPath]
    """Hydra's; it puts the user's own folder there after our plugin has run."""

    @staticmethod
    def scheme() -> str:
        """Prefix of the path."""
        return "headsweep"

    def is_group(self, config_path: str) -> bool:
        """True for ``sweeps`` and ``arm``."""
        return config_path == "arm" or super().is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        """True for a sweep, and for an arm that a sweep's file defines."""
        name = _arm(config_path)
        return bool(name and name in self._arms()) or super().is_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> builtins.list[str]:
        """Names in a group; at the top only the groups."""
        if config_path == "arm":
            return [] if results_filter == ObjectType.GROUP else sorted(self._arms())
        if not config_path:  # whatever else lies in a checkout is no configuration
            return [] if results_filter == ObjectType.CONFIG else ["sweeps"]
        return super().list(config_path, results_filter)

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a sweep's file, or make the configuration of an arm.

        Raises:
            UserError: Two files define the arm differently, or its keys cannot be keys.
        """
        name = _arm(config_path)
        found = self._arms().get(name) if name else None
        if found is None:
            return super().load_config(config_path)
        (file, keys), *others = found.items()
        for other, more in others:
            if more != keys:
                raise UserError(f"arm={name}: {file} and {other} define it differently; rename one")
        config = OmegaConf.create()
        choices = {key: value for key, value in keys.items() if key in ARM_GROUPS}
        if choices:
            config.defaults = [{f"override /{group}": file} for group, file in choices.items()]
        for key, value in keys.items():
            if key in choices and isinstance(value, str):
                continue
            if not isinstance(key, str) or "." not in key or isinstance(value, dict):
                raise UserError(
                    f"{file}: arms.{name}: {key}: {value} must be a key with dots and its value, "
                    "as on the command line, such as head.dropout: 0.0, or a group and its file: "
                    + ", ".join(ARM_GROUPS)
                )
            OmegaConf.update(config, key, value)
        return ConfigResult(
            provider=self.provider,
            path=f"{self.scheme()}://{file}",
            config=config,
            header={"package": "_global_"},
        )

    def _arms(self) -> dict[str, dict[Path, dict[str, Any]]]:
        """Keys of each arm, by the files that define it."""
        found: dict[str, dict[Path, dict[str, Any]]] = {}
        entries = [entry.path or "" for entry in self.search_path.get_path()]
        folders = [Path(p.removeprefix(FILE)) for p in entries if p.startswith(FILE)]
        for folder in (*folders, config_root()):
            for file in sorted(folder.glob("sweeps/*.yaml")):
                for name, keys in _defined(file, file.stat().st_mtime_ns).items():
                    found.setdefault(name, {})[file] = keys
        return found


class SweepsPath(SearchPathPlugin):
    """Adds the source where our own configuration is used, and to no other Hydra application."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put ``sweeps`` and the arms behind ``conf``."""
        conf = str(config_root() / "conf")
        if any(part.path in (conf, f"{FILE}{conf}") for part in search_path.get_path()):
            behind = SearchPathQuery(provider="main", path=None)
            search_path.append("headsweep", f"headsweep://{config_root()}", behind)
            SweepsSource.search_path = search_path


def _arm(config_path: str) -> str:
    """Name of the arm that a path of a config stands for; empty for another config."""
    group, _, name = config_path.rpartition("/")
    return name.removesuffix(".yaml") if group == "arm" else ""


@lru_cache(maxsize=200)
def _defined(file: Path, changed: int) -> dict[str, dict[str, Any]]:
    """Arms that a sweep's file defines; an arm without keys stands in ``conf/arm``.

    Read once for each time it was ``changed`` (ns): Hydra asks several times for every job. A file
    that is no YAML defines none: Hydra names it when it is chosen. Names that cannot be are refused
    there, too.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    arms = content.get("arms") if isinstance(content, dict) else None
    if not isinstance(arms, dict):
        return {}
    named = {str(name): keys for name, keys in arms.items() if isinstance(keys, dict)}
    return {name: keys for name, keys in named.items() if is_name(name)}
