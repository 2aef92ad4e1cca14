"""Overrides of a command line, as Hydra parses them, with short error messages."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    Override,
    OverrideType,
    Quote,
    QuotedString,
    Sweep,
)
from omegaconf import DictConfig, OmegaConf

from headsweep.config import GROUPS, RUNTIME_KEYS, TABLES
from headsweep.errors import MASK, UserError
from headsweep.identity import override_key, stable_hash
from headsweep.store.names import check_name
from headsweep.sweep.hydra_keys import check_override
from headsweep.sweep.messages import short_errors

SAMPLE_KEYS = (
    *("seed", "seeds", "data.source.seed", "data.split.seed", "data.split.fold", "data.repeats"),
    "backbone.seed",
)
"""Keys that a search may not choose: it would find the luckiest sample."""

PATHS = ("root", "data.source.path", "backbone.checkpoint")
TEXTS = (*PATHS, "name", "study", "take", "tracking_uri")
"""Keys of files and folders, and all whose value is a text as it was typed."""


def chooses_sample(key: str) -> bool:
    """True for a key that decides which tracks or seeds a result is of, not how good a head is."""
    return key in SAMPLE_KEYS or key.startswith(("data.selection", "data/selection"))


def is_sweep(overrides: Sequence[str]) -> bool:
    """True for overrides that choose a file of ``sweeps``, which makes them a multirun."""
    return runtime_values(overrides).get("sweeps") is not None


def sweep_name(overrides: Sequence[str]) -> str:
    """Name of a sweep: as given, else its file, else a hash of what it sets.

    Raises:
        UserError: A runtime key is swept over, or the name cannot be a folder's.
    """
    values = runtime_values(overrides)
    given = "name" in values
    name = values["name"] if given else values.get("sweeps")
    if name is None and not given:
        own = sorted(o for o in overrides if not is_runtime(o) and not o.startswith("seeds="))
        return f"adhoc-{stable_hash(own, 8)}"
    name = "" if name is None else str(name)
    if "${" in name:
        raise UserError(
            f"name={name}: is taken as it is written; let the shell fill it in, as in name=$NAME"
        )
    check_name("name" if given else "sweeps", name)
    return name


def as_override(key: str, value: str) -> str:
    """An override that sets a text; quoted, where Hydra's grammar would read something else.

    Raises:
        UserError: No override can set it: ``${`` begins an interpolation.
    """
    if "${" in value or not value.isprintable():
        raise UserError(f"{key}={value!r}: '${{' and unprintable characters cannot be used here")
    with suppress(UserError):
        if parse([f"{key}={value}"])[0].value() == value:
            return f"{key}={value}"
    return f"{key}={QuotedString(value, Quote.single).with_quotes()}"


def as_written(node: Any) -> Any:
    """Content of a composed list or mapping with interpolations as the user wrote them.

    Iterating over it would resolve them, against the sweep's configuration in place of a job's.
    """
    return OmegaConf.to_container(node, resolve=False)


def as_overrides(params: DictConfig | None) -> list[str]:
    """Overrides as written in ``hydra.sweeper.params``, for every job to resolve by itself."""
    given = {} if params is None else as_written(params)
    return [f"{key}={'null' if value is None else value}" for key, value in given.items()]


def parse(overrides: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    """Overrides as Hydra reads them; with a loader it knows which keys are groups.

    Raises:
        UserError: One cannot be read.
    """
    with short_errors():
        found = OverridesParser.create(loader).parse_overrides(list(overrides))
    for override in found:
        if isinstance(glob := override.value(), Glob):
            glob.exclude.append("schema_*")  # the typed parents of files, which no user means
    return found


@lru_cache(maxsize=1000)
def parsed(override: str) -> Override:
    """One override; kept, as the jobs of a sweep share most of theirs."""
    [parsed] = parse([override])
    return parsed


def runtime_values(overrides: Sequence[str]) -> dict[str, Any]:
    """Values of the runtime keys among the overrides; each takes one, and no group takes null."""
    values = {}
    for override in parse(overrides):
        key = override.key_or_group
        if MASK in str(override.input_line):
            raise UserError(
                f"{override.input_line}: secrets are not kept; give the address again, or write "
                f"'{key}=${{oc.env:NAME}}' and set the environment variable NAME to it"
            )
        check_override(key, str(override.input_line))
        if key in (*RUNTIME_KEYS, *TABLES) and override.is_delete():
            raise UserError(f"{override.input_line}: {key} cannot be taken away")
        if key in (*GROUPS, "rates", "sweeps"):
            check_choice(override)
        if key in RUNTIME_KEYS:
            if override.is_sweep_override():
                raise UserError(f"{override.input_line}: {key} takes one value")
            values[key] = override.value()
    return values


def check_choice(override: Override) -> None:
    """Refuse what is no name of a file in a group, of which Hydra says too little."""
    value, group = override.value(), override.key_or_group
    if value in (None, ""):
        raise UserError(
            f"{override.input_line}: choose a file, as in {group}=NAME; arm=baseline changes "
            "nothing"
        )
    if isinstance(value, list) and all(isinstance(name, str | QuotedString) for name in value):
        raise UserError(
            f"{override.input_line}: takes one file; several make a sweep: -m {group}=A,B"
        )
    names = value.list if isinstance(value, ChoiceSweep) else [value]
    for name in names:
        if not isinstance(name, str | QuotedString | dict | Sweep | Glob):
            raise UserError(
                f"{override.input_line}: choose one file by its name; quote a name that is a "
                f"number, as in '{group}=\"3\"'"
            )


def as_texts(arguments: Sequence[str]) -> list[str]:
    """Arguments of ``train`` with names and paths as overrides that Hydra reads as they stand.

    ``--root X`` is ``root=X``, and the values of ``TEXTS`` may have characters that Hydra's grammar
    has not. What is quoted, interpolated, a list, null or empty stays as it is.

    Raises:
        UserError: There is no folder behind ``--root``, or what stands there cannot be one.
    """
    found = []
    rest = iter(arguments)
    for argument in rest:
        option = argument.startswith("--")
        key, _, text = argument.removeprefix("--").partition("=")
        if argument == "--root":
            text = next(rest, "")
        if key == "root" and not text:
            raise UserError(f"{argument}: the folder is missing, as in root=FOLDER")
        meant = text[:1] in ("'", '"', "") or "${" in text or "," in text or text == "null"
        if key not in (["root"] if option else TEXTS) or (meant and not option):
            found.append(argument)
            continue
        if key == "name":
            check_name(key, text)
        found.append(as_override(key, os.path.expanduser(text) if key in PATHS else text))
    return found


def only_sets_a_value(override: Override) -> bool:
    """True for an override such as ``optim.lr=0.1``, which chooses no file."""
    key = override.key_or_group
    return (
        override.type == OverrideType.CHANGE
        and "." in key
        and not key.startswith("hydra.")
        and "/" not in key
        and override.package is None
        and not isinstance(override.value(), dict)
    )


def is_runtime(override: str) -> bool:
    """True for an override that does not change results."""
    key = override_key(override)
    return key.partition(".")[0] in RUNTIME_KEYS
