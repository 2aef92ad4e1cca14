"""Pages of the reference, made from the schema, the commands, the metrics and the sweeps.

MkDocs calls ``on_files``; ``pages`` gives the same text to the tests.
"""

import inspect
import math
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import click
import typer
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from omegaconf import MISSING as REQUIRED

from headsweep import commands, config
from headsweep.errors import UserError
from headsweep.stats.curves import CURVES
from headsweep.stats.metrics import METRICS
from headsweep.stats.verdict import MARGINS

HERE = Path(__file__).parent
CONF, SWEEPS = config.config_root() / "conf", config.config_root() / "sweeps"

SECTIONS = {
    "": config.Config,
    "data": config.DataConfig,
    "data.split": config.SplitConfig,
    "data.selection": config.SelectionConfig,
    "data.source (spectrometer)": config.SpectrometerConfig,
    "data.source (hepattn)": config.HepattnConfig,
    "data.source (tracks)": config.TracksConfig,
    "backbone (transformer)": config.TransformerConfig,
    "backbone (truth)": config.TruthConfig,
    "features": config.FeaturesConfig,
    "pooling": config.PoolingConfig,
    "head (mlp)": config.MLPHeadConfig,
    "target": config.TargetConfig,
    "optim": config.OptimConfig,
    "design": config.DesignConfig,
    "worker": config.WorkerConfig,
}
"""Every part of the schema, by its place in the tree; in brackets the kind that is chosen."""

WRONG = (-1, 0, 1.5, math.inf, "?", "file://", [], ["?"], [2.0, 1.0])
"""Values out of range: what the schema says about them is the range."""

LOSSES = {
    "dev_loss": "Loss on the scored split, at the weights of the lowest validation loss.",
    "last_dev_loss": "Loss on the scored split, at the last step.",
    "train_loss": "Loss on training tracks, at the last step.",
    "last_val_loss": "Loss on validation, at the last step.",
}
"""Metrics that come from a training and are no function of its curve."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference to the site."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def pages() -> dict[str, str]:
    """Every page of the reference: its path in the site, and its text."""
    return {
        "reference/questions.md": questions(),
        "reference/choices.md": choices(),
        "reference/keys.md": keys(),
        "reference/commands.md": verbs(),
        "reference/metrics.md": metrics(),
    }


def questions() -> str:
    """The prepared sweeps, from the first lines of their files."""
    parts = ["# Questions that are prepared", "Each is one file in `sweeps/`; its first lines say this."]
    for path in sorted(SWEEPS.glob("*.yaml")):
        told = header(path)
        parts += [f"## {path.stem}", told["Question"], f"```bash\n{told['Command']}\n```"]
        parts += [f"**{word}.** {told[word]}" for word in ("Time", "Result") if word in told]
    return "\n\n".join(parts) + "\n"


def header(path: Path) -> dict[str, str]:
    """Question, command, time and result of a sweep: the words of its first comment."""
    lines = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
    found: dict[str, str] = {}
    word = ""
    for line in lines[1:]:
        starts = re.match(r"(Question|Command|Time|Result): (.*)", line)
        if starts:
            word, line = starts.groups()
        elif word == "Command":
            word = "More"
        found[word] = f"{found[word]} {line}" if word in found else line
    found["Question"] = found["Question"][0].upper() + found["Question"][1:]
    return found


def choices() -> str:
    """Every group of ``conf/`` and its files, with the first words of each."""
    parts = [
        "# Choices",
        "`headsweep train GROUP=CHOICE` takes a file of `conf/GROUP/`. A file of your own beside "
        "them, or in `my_conf/GROUP/` with `--config-dir my_conf`, is a new choice.",
    ]
    for folder in sorted({path.parent for path in CONF.rglob("*.yaml")} - {CONF}):
        group = folder.relative_to(CONF).as_posix()
        rows = [(f"`{path.stem}`", _comment(path)) for path in sorted(folder.glob("*.yaml"))]
        parts += [f"## {group}", _table(("choice", "what it is"), rows)]
    return "\n\n".join(parts) + "\n"


def keys() -> str:
    """Every key of the schema: type, default, range and meaning.

    Raises:
        ValueError: A key has no meaning in ``keys.yaml``, or a meaning has no key.
    """
    meanings = yaml.safe_load((HERE / "keys.yaml").read_text())
    parts = [
        "# Keys",
        "A key is set on the command line (`optim.steps=6400`) or in a file of `conf/` or `sweeps/`."
        " A wrong key, type or value is refused before anything runs.",
    ]
    for place, schema in SECTIONS.items():
        told = meanings.pop(place)
        names = [f for f in fields(schema) if f.name != "_target_" and not is_dataclass(f.type)]
        if missing := {f.name for f in names} ^ set(told):
            raise ValueError(f"docs/keys.yaml, {place or 'top'}: {', '.join(sorted(missing))}")
        path = place.partition(" ")[0]
        rows = [
            (f"`{path}.{f.name}`" if path else f"`{f.name}`", _type(f.type), _default(f))
            + (_range(schema, f.name), told[f.name])
            for f in names
        ]
        title = f"{path}, {place[len(path) + 2:-1]}" if "(" in place else path or "The run"
        parts += [f"## {title}", inspect.getdoc(schema).partition("\n")[0]]
        parts.append(_table(("key", "type", "default", "must be", "meaning"), rows))
    if meanings:
        raise ValueError(f"docs/keys.yaml: no such part of the schema: {', '.join(meanings)}")
    return "\n\n".join(parts) + "\n"


def verbs() -> str:
    """Every command, with its arguments and options."""
    parts = [
        "# Commands",
        "The keys of `headsweep train` are under [Keys](keys.md); `--help` says the same as here.",
    ]
    parts += _verbs(typer.main.get_command(commands.app), "headsweep")
    return "\n\n".join(parts) + "\n"


def _verbs(group: click.Command, path: str) -> list[str]:
    parts = []
    for name, verb in group.commands.items():
        if hasattr(verb, "commands"):
            parts += _verbs(verb, f"{path} {name}")
            continue
        rows = [
            (_spelling(p), _plain(p.help or ""), "required" if p.required else _value(p.default))
            for p in verb.params
            if p.name != "help"
        ]
        parts += [f"## {path} {name}", inspect.cleandoc(verb.help)]
        parts += [_table(("argument or option", "meaning", "default"), rows)] if rows else []
    return parts


def metrics() -> str:
    """Every metric: unit, best value, margin and meaning.

    Raises:
        ValueError: A metric that has a margin is told nowhere.
    """
    told = {name: (m.unit, m.better, inspect.getdoc(m.function)) for name, m in METRICS.items()}
    curves = {name: (m.unit, m.better, inspect.getdoc(m.function)) for name, m in CURVES.items()}
    losses = {name: ("", "lower", text) for name, text in LOSSES.items()}
    if unknown := set(MARGINS) - {*told, *curves, *losses, "sd_ratio"}:
        raise ValueError(f"docs/reference.py tells nothing of {', '.join(sorted(unknown))}")
    columns = ("metric", "unit", "best", "margin", "meaning")
    parts = [
        "# Metrics",
        "kappa is q/pT, and rho = kappa_predicted / kappa_true - 1 its relative error. A wrong charge "
        "gives rho of about -2; without information |rho| is about 1.\n\n"
        "The margin is the largest difference that does not matter in a "
        "[verdict](../concepts/verdict.md); a metric without one gets no verdict. `design.metrics` "
        "takes any metric that has one.",
    ]
    for title, entries in (("Of tracks", told), ("Of a training", {**curves, **losses})):
        rows = [
            (f"`{name}`", unit, better, _margin(name), _plain(text.split("\n\n")[0]))
            for name, (unit, better, text) in entries.items()
        ]
        parts += [f"## {title}", _table(columns, rows)]
    return "\n\n".join(parts) + "\n"


def _margin(name: str) -> str:
    margin = MARGINS.get(name)
    if margin is None:
        return ""
    return f"{math.expm1(margin.value):.0%}" if margin.scale == "log" else f"{margin.value:g}"


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _comment(path: Path) -> str:
    """The first sentences of a file's comment, up to its first key."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            lines.append(line[1:].strip())
    return " ".join(lines)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("``", "`"))


def _spelling(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return f"`{parameter.make_metavar(click.Context(click.Command('')))}`"
    return f"`{parameter.opts[-1]}`"


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    if annotation is Any:
        return "a choice"
    return str(annotation).replace(" | None", " or null") if "|" in str(annotation) or "[" in str(annotation) else text


def _value(value: Any) -> str:
    if value is None or value in ("", REQUIRED):
        return {None: "", "": "", REQUIRED: "required"}[value]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _default(field: Any) -> str:
    made = field.default_factory is not MISSING
    value = field.default_factory() if made else field.default
    return "`null`" if value is None else _value(value)


def _range(schema: type, name: str) -> str:
    """The range of a key, in the words with which the schema refuses a value."""
    found: dict[str, None] = {}
    for value in WRONG:
        try:
            schema(**{name: value})
        except UserError as error:
            key, _, must = str(error).partition(": must be ")
            if must and key.partition("=")[0].rpartition(".")[2] == name:
                found[must] = None
        except (TypeError, AttributeError):
            continue
    return "; ".join(found)
