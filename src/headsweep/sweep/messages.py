"""Errors of Hydra, OmegaConf and YAML as one line that names the key or file."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from traceback import walk_tb

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from headsweep.config import GROUPS
from headsweep.errors import UserError

USELESS = re.compile(
    r"\s*(Config search path|To append to your config|See https://|full_key:|object_type=|"
    r"reference_type=|Error merging override|Error when parsing index|schema_).*"
)
"""Lines of messages that do not hold here (``+`` is refused, for example) or say nothing."""

FOREIGN = ("hydra.", "hydra_plugins.hydra_", "omegaconf.", "yaml.", "antlr4.")
"""Beginnings of the names of modules that read and compose configurations."""


@contextmanager
def short_errors() -> Iterator[None]:
    """Raise errors of a configuration as ``UserError``."""
    try:
        yield
    except Exception as error:
        if not is_foreign(error):
            raise
        raise UserError(short_message(error)) from error


def is_foreign(error: Exception) -> bool:
    """True for an error of a configuration that cannot be read or composed.

    Beside their own classes, Hydra and its libraries let through whatever an odd value leads to:
    those errors are known by the place where they were raised.
    """
    if isinstance(error, HydraException | OmegaConfBaseException | YAMLError):
        return True
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    modules = [f"{frame.f_globals.get('__name__')}." for frame in reversed(frames)]
    own = (name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names)
    return next(own, "").startswith(FOREIGN)


def short_message(error: BaseException) -> str:
    """Message of an error as one line, without advice that does not hold here."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_file(error.missing_cfg_file, error.options or [])
    if isinstance(error, RecursionError):
        return "the configuration refers to itself without end: a file that is its own default?"
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: cannot be read; quote what is no plain word, as in "
            "'key=\"value\"' (in a shell with both kinds of quotes)"
        )
    cause = error.__cause__
    deeper = cause if isinstance(cause, OmegaConfBaseException) else error
    key = getattr(deeper, "full_key", None) or _named_key(str(error))
    if isinstance(deeper, MissingMandatoryValue) and key:
        return f"{key} is missing: give {key}=VALUE"
    lines = str(error).splitlines()
    if merging := re.match(r"Error merging override (.+)", lines[0] if lines else ""):
        key = merging[1]
    if deeper is not error:
        lines += str(deeper).splitlines()[:1]
    end = next((i for i, line in enumerate(lines) if "Config search path" in line), len(lines))
    kept = [line.strip() for line in lines[:end] if line.strip() and not USELESS.match(line)]
    text = " ".join(dict.fromkeys(kept)) or type(deeper).__name__
    if container := _wanted_container(text, key or ""):
        return container
    if group := re.fullmatch(r"Could not override '(\S+/\S+)'\. Key '\1' not in 'Config'", text):
        return f"{group[1]}: no such group; {did_you_mean(group[1], GROUPS)}"
    return f"{key}: {text}" if key and key not in text else text


def _wanted_container(text: str, override: str) -> str | None:
    """What to write instead, where OmegaConf says in its classes that a list or mapping is due."""
    key, given, value = override.partition("=")
    if not given:  # it stands in a file, which the message names
        return None
    if "is not a ListConfig" in text:
        return f"{override}: must be a list, such as {key}=[{value or 'VALUE'}]"
    if "Cannot merge incompatible container types" in text:
        kind = f"a mapping, such as {key}={{KEY: VALUE}}"
        return (
            f"{override}: must be {f'a list, such as {key}=[VALUE]' if value[:1] == '{' else kind}"
        )
    return None


def _named_key(text: str) -> str | None:
    """The key that a message of OmegaConf names on a line of its own."""
    match = re.search(r"^\s*full_key: (\S+)", text, re.MULTILINE)
    return match[1] if match else None


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The nearest of some known words as a question, or all of them where none is near."""
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known) or 'none'}"


def _missing_file(path: str, options: Sequence[str]) -> str:
    group, _, name = path.rpartition("/")
    if not group:
        return f"{path}: no such file of configuration"
    known = [option for option in options if not option.startswith("schema_")]
    return (
        f"{group}={name}: there is no file {group}/{name}.yaml; {did_you_mean(name, known)} "
        f"(one of your own: --config-dir FOLDER, which has {group}/{name}.yaml)"
    )
