"""Files of configuration that a command line chooses: each is read whole, and each key counts.

Hydra merges files one after the other. It takes a file without ``# @package _global_`` for the
content of its group, and lets a later file win without a word. Here both are errors that name file,
line and mend.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import ResultDefault
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode
from omegaconf import MISSING, Container, OmegaConf

from headsweep.config import GROUPS, RUNTIME_KEYS, Config, MLPHeadConfig
from headsweep.errors import UserError
from headsweep.files import flat
from headsweep.identity import override_key
from headsweep.sweep.internals import endless_default, file_being_read
from headsweep.sweep.messages import did_you_mean, is_foreign, short_errors, short_message
from headsweep.sweep.overrides import check_choice, parse
from headsweep.sweep.yaml_text import check_text, line_of

HEADER = "# @package _global_"
WITHOUT_PLACE = ("arm", "sweeps")
"""Groups whose files set keys of other groups: without the header nobody reads them."""

TOP = {item.name for item in fields(Config)} | {"hydra"}
"""Keys at the top of the configuration."""

PARTS = {"backbone", "head", "hydra", "arms"} | {
    item.name for item in fields(Config) if is_dataclass(item.type)
}
"""Those of them that hold keys of their own."""

_IN_FILE = re.compile(r"(?:([\w.]+): )?In '([^']+)': \w+ raised while composing config: (.*)")
_KEY = re.compile(r"([A-Za-z_][\w.]*)(?:=|: | is missing)")


@dataclass(frozen=True)
class ConfigFile:
    """One file of the configuration, or a schema.

    Attributes:
        name: Group and name, as in ``head/conservative``.
        package: Where its keys go, with dots; empty for the top.
        parent: Name of the file whose defaults list has it.
        path: The file; None for a schema.
        values: What it sets, by full key with dots; a list is one value.
    """

    name: str
    package: str
    parent: str
    path: Path | None
    values: Mapping[str, Any]

    @property
    def group(self) -> str:
        """Its group."""
        return self.name.rpartition("/")[0]

    @property
    def in_a_sweep(self) -> bool:
        """True for an arm that stands in the file of a sweep."""
        return self.group == "arm" and self.path is not None and self.path.parent.name != "arm"

    def own(self, key: str) -> str:
        """A full key as it stands in the file."""
        return key.removeprefix(f"{self.package}.") if self.package else key

    def at(self, key: str) -> str:
        """File and line of a full key, for messages."""
        assert self.path is not None
        of_arm = ["arms", self.name.rpartition("/")[2]] if self.in_a_sweep else []
        line = line_of(self.path, [*of_arm, *self.own(key).split(".")])
        return f"{self.path}:{line}" if line else str(self.path)


def check_files(
    loader: ConfigLoader, overrides: Sequence[str], multirun: bool = False
) -> list[ConfigFile]:
    """Refuse a chosen file that is never read, sets nothing, or has a key without effect.

    Args:
        loader: Hydra's.
        overrides: Those of a single run or of one job.
        multirun: They describe a sweep, whose jobs choose among files: these are only read.

    Returns:
        The files in the order in which they are merged; without Hydra's own.

    Raises:
        UserError: The message names the file, the line, and what to write.
    """
    for override in parse(overrides):
        if override.key_or_group in (*GROUPS, "rates", "sweeps"):
            check_choice(override)
    files = list(_chosen(loader, overrides, multirun))
    named = {override_key(override).partition("@")[0] for override in overrides}
    usual = _usual(loader)
    for file in files:
        if file.path is None:
            continue
        _check_place(file)
        has_defaults = any(other.parent == file.name for other in files)
        if not (file.values or has_defaults or file.in_a_sweep or file.name in usual):
            raise UserError(
                f"{file.path}: sets nothing, so it changes nothing; write its keys, or choose "
                f"another file of {file.group}"
            )
        if file.group == "rates" and file.name not in usual:
            _check_rates(loader, file)
    if not multirun:
        usual = {name for name in usual if name.rpartition("/")[0] not in named}
        _check_order(files, usual, named)
    return files


@contextmanager
def naming_files(files: Sequence[ConfigFile], overrides: Sequence[str]) -> Iterator[None]:
    """Raise errors of a configuration as ``UserError``; what a file sets is named by its line."""
    try:
        with short_errors():
            yield
    except UserError as error:
        raise UserError(_named(str(error), files, overrides)) from error


def _named(message: str, files: Sequence[ConfigFile], overrides: Sequence[str]) -> str:
    """A message about a key with the file and the line that sets it."""
    found = _IN_FILE.match(message)
    if found:
        key, name, words = found.groups()
        inside = re.match(r"Key '([^']+)'", words)
        key = key or (inside[1] if inside else "")
        file = next((f for f in files if f.name == name and f.path), None)
        return ": ".join(filter(None, (file.at(key), key, words))) if file else message
    named = _KEY.match(message)
    if named is None or named[1] in set(map(override_key, overrides)) - set(GROUPS):
        return message
    setters = [f for f in files for key in f.values if f"{key}.".startswith(f"{named[1]}.")]
    if not setters or setters[-1].path is None:
        return message
    return f"{setters[-1].at(named[1])}: {message}"


def _chosen(loader: ConfigLoader, overrides: Sequence[str], multirun: bool) -> Iterator[ConfigFile]:
    """The files that Hydra merges, in its order; its own are left out."""
    mode = RunMode.MULTIRUN if multirun else RunMode.RUN
    try:
        found = loader.compute_defaults_list("config", list(overrides), mode)
    except Exception as error:
        if isinstance(error, UserError) or not is_foreign(error):
            raise
        path = file_being_read(error) or _blamed(error, loader)
        if path is None:
            raise UserError(short_message(error)) from error
        check_text(path)  # says what is wrong in more words
        raise UserError(f"{path}: {short_message(error)}") from error
    sources = loader.get_sources()
    for default in found.defaults:
        name = default.config_path or ""
        if name.startswith("hydra/"):
            continue
        having = [source for source in sources if source.is_config(name)]
        _check_shadow(name, having)
        yield _read(having[0], default)


def _blamed(error: BaseException, loader: ConfigLoader) -> Path | None:
    """The file in which Hydra finds a wrong default, by the name in its message."""
    found = re.search(r"\b[Ii]n '?([\w./-]+/[\w.-]+)'?[:,]", str(error))
    name = found[1] if found else None
    if isinstance(error, RecursionError):
        name = endless_default(error)
    paths = [Path(source.path) / f"{name}.yaml" for source in loader.get_sources()]
    return next((path for path in paths if path.is_file()), None)


def _check_shadow(name: str, having: Sequence[ConfigSource]) -> None:
    """Refuse a file that another one of the same name hides."""
    # Of an arm that sweeps define, `Sweep.arguments` and the source itself say more.
    places = [s for s in having if s.scheme() != "headsweep" or not name.startswith("arm/")]
    if len(places) > 1:
        first, second = (f"{source.path}/{name}.yaml" for source in places[:2])
        if places[1].scheme() == "structured":
            raise UserError(f"{first}: {name} is a name of headsweep's own; rename the file")
        raise UserError(f"{second}: is never read, as {first} has the same name; rename it")


def _read(source: ConfigSource, default: ResultDefault) -> ConfigFile:
    name, package = default.config_path or "", default.package or ""
    file = Path(source.path) / f"{name}.yaml"
    path: Path | None = file
    if source.scheme() == "file" and file.is_file():
        content = _read_once(file, file.stat().st_mtime_ns)
    else:
        loaded = source.load_config(name)
        own = loaded.path.partition("://")[2]  # of an arm in a sweep's file that file
        path = Path(own) if own.endswith(".yaml") else file
        path = None if source.scheme() == "structured" else path
        if path is not None:
            check_text(path)
        content = _plain(loaded.config)
    values = {
        f"{package}.{key}" if package else key: value
        for key, value in flat(content).items()
        if value != MISSING and key.partition(".")[0] != "defaults"
    }
    return ConfigFile(name, package, default.parent or "", path, values)


@lru_cache(maxsize=200)
def _read_once(path: Path, changed: int) -> dict[str, Any]:
    """Content of a file, read once for each time it was ``changed`` (ns): each job asks again."""
    check_text(path)
    return _plain(OmegaConf.load(path))


def _plain(config: Container) -> dict[str, Any]:
    content = OmegaConf.to_container(config, resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _usual(loader: ConfigLoader) -> set[str]:
    """Files that the shipped ``config.yaml`` chooses, and it itself."""
    source = next(source for source in loader.get_sources() if source.is_config("config"))
    path = Path(source.path) / "config.yaml"
    defaults = _read_once(path, path.stat().st_mtime_ns)["defaults"]
    entries = [entry for entry in defaults if isinstance(entry, dict)]
    chosen = [(str(group), name) for entry in entries for group, name in entry.items()]
    return {f"{group}/{name}" for group, name in chosen} | {"config"}


def _check_place(file: ConfigFile) -> None:
    """Refuse keys that land where nobody reads them."""
    first_line = f"add `{HEADER}` as the first line"
    if file.group in WITHOUT_PLACE and file.package == file.group:
        raise UserError(
            f"{file.path}:1: {first_line}: without it the keys are taken for those of "
            f"{file.group!r}, where nobody reads them"
        )
    for key in file.values:
        own = file.own(key)
        first, _, below = own.partition(".")
        of_command = RUNTIME_KEYS if file.group == "arm" else ("name", "sweeps")
        top = key.partition(".")[0]
        if (top in of_command and top != "allow") or (
            file.group == "arm" and key.startswith("hydra.sweeper.")
        ):
            raise UserError(
                f"{file.at(key)}: {key}: has no effect in a file of {file.group}; give it on the "
                "command line"
            )
        if not file.package and first not in TOP:
            raise UserError(f"{file.at(key)}: {own}: no such key; {_meant(own)}")
        if file.package and below and first in PARTS:
            mend = f"{first_line}, and write the keys of {file.package} below `{file.package}:`"
            if first == file.package:
                mend = f"leave `{first}:` out: all keys of this file are those of {first}"
            raise UserError(f"{file.at(key)}: {own} would be {key}; {mend}")


def _meant(own: str) -> str:
    """Keys of the schema that a wrong key at the top may stand for, as a question."""
    known = [*flat(OmegaConf.to_container(OmegaConf.structured(Config)))]  # type: ignore[arg-type]
    known += [f"head.{item.name}" for item in fields(MLPHeadConfig)]
    last = own.rpartition(".")[2]
    same = [key for key in known if key.rpartition(".")[2] == last]
    near = same or get_close_matches(own.partition(".")[0], sorted(TOP), n=1)
    return f"did you mean {near[0]}?" if near else "`headsweep train --cfg job` prints all keys"


def _check_rates(loader: ConfigLoader, file: ConfigFile) -> None:
    """Refuse rates of arms and heads that are not there: none is ever read."""
    names = {group: loader.get_group_options(group) for group in ("arm", "head")}
    for key in file.values:
        part, _, rest = file.own(key).partition(".")
        if part != "table":
            continue
        group, _, name = rest.partition(".")
        for word, known in ((group, [*names]), (name, names.get(group, []))):
            if word not in known:
                raise UserError(
                    f"{file.at(key)}: {file.own(key)} is never read: there is no {word!r}; keys "
                    f"are table.arm.NAME and table.head.NAME; {did_you_mean(word, known)}"
                )


def _check_order(files: Sequence[ConfigFile], usual: set[str], named: set[str]) -> None:
    """Refuse a key that a later file sets to another value, unless that is what files are for.

    Arms and sweeps win over other files, what the user names over what another file says about its
    group, and a file over its own defaults. An arm loses against none.
    """
    by_name = {file.name: file for file in files}
    last: dict[str, ConfigFile] = {}
    for file in files:
        for key, value in file.values.items():
            before = last.get(key)
            if before and before.path and before.name not in usual and before.values[key] != value:
                later = [file, *_parents(file, by_name)]
                mend = _mend(before, later, by_name, named)
                if mend is None and _is_named_for(key, before, later[-1], named):
                    mend = f"give {key}={before.values[key]} on the command line, which wins"
                if mend:
                    raise UserError(
                        f"{before.at(key)}: {key}={before.values[key]} has no effect, as "
                        f"{file.name} is read later and sets {value}; {mend}"
                    )
            last[key] = file


def _mend(
    before: ConfigFile,
    later: Sequence[ConfigFile],
    by_name: Mapping[str, ConfigFile],
    named: set[str],
) -> str | None:
    """How to give a key effect that a later file, first of its parents, sets; None if all is well.

    Args:
        before: The file whose key is lost.
        later: The file that wins, and those whose defaults it comes from.
        by_name: All files.
        named: Groups of which the user names the file.
    """
    winner, root = next(file for file in later if file.path), later[-1]
    if before in later:
        return "write `_self_` as the last of its defaults"
    if before.group == "arm":
        return "take it out of one of the two: an arm sets what differs, a sweep what is shared"
    if winner.group in WITHOUT_PLACE or winner in _parents(before, by_name) or root.group in named:
        return None
    return "set it in an arm, in a sweep, or on the command line"


def _is_named_for(key: str, before: ConfigFile, winner: ConfigFile, named: set[str]) -> bool:
    """Whether the user names a file for this very key, and a file of another group wins over it.

    An arm and a sweep are meant to; a value on the command line wins over all.
    """
    if winner.group in WITHOUT_PLACE or key in named:
        return False
    own, other = (f"{file.group.replace('/', '.')}." for file in (before, winner))
    return before.group in named and key.startswith(own) and not key.startswith(other)


def _parents(file: ConfigFile, by_name: Mapping[str, ConfigFile]) -> list[ConfigFile]:
    """The files whose defaults lead to a file, the nearest first; without ``config``."""
    found: list[ConfigFile] = []
    while file.parent in by_name and file.parent != "config" and file.name != "config":
        file = by_name[file.parent]
        if file in found:
            break
        found.append(file)
    return found
