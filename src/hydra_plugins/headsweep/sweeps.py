"""The folder ``sweeps/`` as a config group, in a checkout and in the installed package."""

import builtins

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.plugins.search_path_plugin import SearchPathPlugin

from headsweep.config import config_root


class SweepsSource(FileConfigSource):
    """The folder above ``conf`` and ``sweeps``, of which only the group ``sweeps`` is offered.

    A plain ``file://`` source would offer every folder of a checkout as a group.
    """

    @staticmethod
    def scheme() -> str:
        """Prefix of the path."""
        return "headsweep"

    def list(self, config_path: str, results_filter: ObjectType | None) -> builtins.list[str]:
        """Names in a group; at the top only ``sweeps``."""
        names = super().list(config_path, results_filter)
        return names if config_path else [name for name in names if name == "sweeps"]


class SweepsPath(SearchPathPlugin):
    """Adds the group where our own configuration is used, and to no other Hydra application."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put ``sweeps`` behind ``conf``."""
        conf = str(config_root() / "conf")
        if any(part.path in (conf, f"file://{conf}") for part in search_path.get_path()):
            behind = SearchPathQuery(provider="main", path=None)
            search_path.append("headsweep", f"headsweep://{config_root()}", behind)
