"""Pages of the reference, made from the schema, the commands, the metrics and the sweeps.

MkDocs calls ``on_files``; ``pages`` gives the same text to the tests.
"""

import inspect
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import typer
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from omegaconf import MISSING as REQUIRED

from headsweep import commands, config
from headsweep.errors import UserError
from headsweep.stats import resolution_fit as fit
from headsweep.stats.curves import CURVE_METRICS
from headsweep.stats.metric import Metric
from headsweep.stats.metrics import MARGINS, METRICS
from hydra_plugins.headsweep import sweeper

ROOT = config.config_root()

SECTIONS: dict[str, type] = {
    "": config.Config,
    "data": config.DataConfig,
    "data.split": config.SplitConfig,
    "data.selection": config.SelectionConfig,
    "data.source (spectrometer)": config.SpectrometerConfig,
    "data.source (hepattn)": config.HepattnConfig,
    "data.source (tracks)": config.TracksConfig,
    "data.source (frozen)": config.FrozenConfig,
    "backbone (transformer)": config.TransformerConfig,
    "backbone (truth)": config.TruthConfig,
    "backbone (recorded)": config.RecordedConfig,
    "features": config.FeaturesConfig,
    "pooling": config.PoolingConfig,
    "head (mlp)": config.MLPHeadConfig,
    "head (dense)": config.DenseHeadConfig,
    "target": config.TargetConfig,
    "loss": config.LossConfig,
    "loss.weights": config.LossWeightsConfig,
    "loss.scale": config.LossScaleConfig,
    "optim": config.OptimConfig,
    "design": config.DesignConfig,
    "rates": config.RatesConfig,
    "looks": config.LooksConfig,
    "worker": config.WorkerConfig,
    "hydra.sweeper": sweeper.HeadsweepConf,
    "hydra.sweeper.pruner (median)": sweeper.MedianConf,
}
"""Every part of the schema, by its place in the tree; in brackets which of several it is."""

UNUSED = {
    *("_target_", "defaults", "direction", "study_name", "n_jobs", "max_failure_rate"),
    *("n_warmup_steps", "interval_steps"),
}
"""Keys that say what is built, or that are refused: others stand for them here."""

WRONG = (-1, 0, 1.5, math.inf, "?", "file://", [], ["?"], [2.0, 1.0])
"""Values for every key: what the schema says when it refuses one is the range."""

LOSSES = {
    "dev_loss": "Loss on dev, with the weights of the lowest validation loss.",
    "last_dev_loss": "Loss on dev at the last step.",
    "test_loss": "The same as dev_loss, of a report that reads test.",
    "last_test_loss": "The same as last_dev_loss, of a report that reads test.",
    "train_loss": "Loss on training tracks at the last step.",
    "last_val_loss": "Loss on validation at the last step.",
}
"""Metrics of a training that are no function of its curve."""


RESOLUTION_FIT = f"""\
r68 of q/pT is fitted against pT by r0/pT, r1 and r2 pT, added in quadrature, each at least 0, over
{fit.LOG_BINS} bins of ln pT. A bin counts with {fit.MIN_EVENTS} events and r68 below
{fit.MAX_BIN_R68}; with fewer than {fit.MIN_BINS} such bins the report says
"not fitted". The errors come from a bootstrap over events.

The fit is judged as the Particle Data Group judges values that do not agree, by S = sqrt(chi2/ndf):

- S up to 1: the errors stand as they are.
- S up to {fit.MAX_SCALE:g}: the errors are multiplied by S, and the report says so.
- S above {fit.MAX_SCALE:g}: "fit does not describe the bins", with chi2/ndf and without values.

A coefficient at its bound 0 has an upper limit at 95%."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference, and those of the checkout, to the site."""
    for name, text in (pages() | shared_pages()).items():
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


def shared_pages() -> dict[str, str]:
    """Pages that lie at the top of the checkout, with links that hold in the site."""
    names = {"contributing.md": "CONTRIBUTING.md", "changes.md": "CHANGELOG.md"}
    return {
        page: (ROOT / file).read_text().replace("](docs/", "](") for page, file in names.items()
    }


def questions() -> str:
    """The prepared sweeps, from the first lines of their files."""
    told = {path.stem: header(path) for path in sorted((ROOT / "sweeps").glob("*.yaml"))}
    asked = [(t["Question"].split("?")[0] + "?", f"[{name}](#{name})") for name, t in told.items()]
    parts = [
        "# Questions",
        "Each prepared sweep is one file in `sweeps/`, whose first lines say what stands here.",
        table(("question", "sweep"), asked),
    ]
    for name, words in told.items():
        parts += [f"## {name}", words["Question"], f"```bash\n{words['Command']}\n```"]
        parts += [f"**{word}.** {words[word]}" for word in ("Time", "Result") if word in words]
    return "\n\n".join(parts) + "\n"


def header(path: Path) -> dict[str, str]:
    """Question, command, time and result of a sweep, from the comment that its file begins with."""
    found: dict[str, str] = {}
    word = ""
    for line in comment(path):
        if starts := re.match(r"(Question|Command|Time|Result): (.*)", line):
            word = starts[1]
            found[word] = starts[2]
        elif word != "Command":  # what follows a command is for the reader of the file
            found[word] += f" {line}"
    return {
        word: text[0].upper() + text[1:] if word != "Command" else text
        for word, text in found.items()
    }


def choices() -> str:
    """Every group of ``conf/`` with its files, and what each says of itself."""
    parts = [
        "# Choices",
        "`GROUP=CHOICE` takes a file of `conf/GROUP/`. A file of your own beside them is a new "
        "choice, and so is one in `my_conf/GROUP/` with `--config-dir my_conf`.",
    ]
    for folder in sorted({path.parent for path in (ROOT / "conf").glob("*/**/*.yaml")}):
        files = sorted(folder.glob("*.yaml"))
        parts.append(f"## {folder.relative_to(ROOT / 'conf').as_posix()}")
        rows = [(f"`{path.stem}`", " ".join(comment(path))) for path in files]
        parts.append(table(("choice", "what it is"), rows))
    return "\n\n".join(parts) + "\n"


def keys() -> str:
    """Every key of the schema: type, default, range and meaning.

    Raises:
        ValueError: A key has no meaning in ``keys.yaml``, or a meaning has no key.
    """
    meanings = yaml.safe_load((ROOT / "docs" / "keys.yaml").read_text())
    parts = [
        "# Keys",
        "A key is set on the command line, as in `optim.steps=6400`, or in a file of `conf/` or "
        "`sweeps/`. A wrong key, type or value is refused before anything runs.",
    ]
    for place, schema in SECTIONS.items():
        told = meanings.pop(place)
        path, _, kind = place.rstrip(")").partition(" (")
        own = [f for f in fields(schema) if not is_section(path, f.name) and f.name not in UNUSED]
        if missing := {f.name for f in own} ^ set(told):
            raise ValueError(f"docs/keys.yaml, {place or 'top'}: {', '.join(sorted(missing))}")
        rows = [
            (
                f"`{path}.{f.name}`".replace("`.", "`"),
                type_of(f),
                default_of(f),
                range_of(schema, f),
                told[f.name],
            )
            for f in own
        ]
        title = f"{path}, {kind}" if kind else path or "The run"
        columns = ("key", "type", "default", "must be", "meaning")
        parts += [f"## {title}", plain(schema.__doc__), table(columns, rows)]
    if meanings:
        raise ValueError(f"docs/keys.yaml: no such part of the schema: {', '.join(meanings)}")
    return "\n\n".join(parts) + "\n"


def is_section(path: str, name: str) -> bool:
    """True for a key that has keys of its own."""
    own = f"{path}.{name}".lstrip(".")
    return own in {place.partition(" ")[0] for place in SECTIONS}


def type_of(field: Field[Any]) -> str:
    """The type of a key, as a user writes it."""
    kind = field.type
    simple = isinstance(kind, type) and "[" not in str(kind)
    text = kind.__name__ if simple else str(kind)
    return "any" if "Any" in text else text.replace(" | None", " or null")


def default_of(field: Field[Any]) -> str:
    """The default of a key, as a user writes it."""
    factory: Any = field.default_factory
    return written(field.default if factory is MISSING else factory())


def written(value: Any) -> str:
    """A value as in YAML; nothing for one that has to be given."""
    if value in ("", REQUIRED):
        return ""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else value
    return f"`{text}`".replace("'", "")


def range_of(schema: type, field: Field[Any]) -> str:
    """The range of a key, in the words with which the schema refuses other values."""
    found: dict[str, None] = {}
    whole = field.type in (int, int | None)
    for value in WRONG:
        if whole and isinstance(value, float):
            continue
        try:
            schema(**{field.name: value})
        except UserError as error:
            refused, _, must = str(error).partition(": must be ")
            if must and refused.partition("=")[0].rpartition(".")[2] == field.name:
                found[must] = None
        except (TypeError, AttributeError):
            continue  # a value of another type, which Hydra refuses
    return "; ".join(found)


def verbs() -> str:
    """Every command, with its arguments and options."""
    parts = ["# Commands", "`headsweep train` takes the [keys](keys.md) as `key=value`."]
    parts += verb_parts(typer.main.get_command(commands.app), "headsweep")
    return "\n\n".join(parts) + "\n"


def verb_parts(group: Any, path: str) -> list[str]:
    """The parts of the page on the commands below one command."""
    parts = []
    for name, verb in group.commands.items():
        if hasattr(verb, "commands"):
            parts += verb_parts(verb, f"{path} {name}")
            continue
        rows = []
        for given in (p for p in verb.params if p.name != "help"):
            option = given.param_type_name == "option"
            spelt = given.opts[-1] if option else (given.metavar or given.name).upper()
            needed = "required" if given.required else written(given.default)
            rows.append((f"`{spelt}`", plain(given.help), "" if needed == "`null`" else needed))
        parts += [f"## {path} {name}", inspect.cleandoc(verb.help)]
        parts += [table(("argument or option", "meaning", "default"), rows)] if rows else []
    return parts


def metrics() -> str:
    """Every metric: unit, best value, margin and meaning.

    Raises:
        ValueError: A metric has a margin, and no meaning.
    """
    tracks = [(m.name, unit(m), m.better, plain(m.function.__doc__)) for m in METRICS.values()]
    training = [
        (m.name, unit(m), m.better, plain(m.function.__doc__)) for m in CURVE_METRICS.values()
    ]
    training += [(name, "", "lower", text) for name, text in LOSSES.items()]
    if unknown := set(MARGINS) - {name for name, *_ in (*tracks, *training)}:
        raise ValueError(f"docs/reference.py tells nothing of {', '.join(sorted(unknown))}")
    parts = [
        "# Metrics",
        "kappa is q/pT, and rho = kappa_predicted / kappa_true - 1 its relative error. A wrong "
        "charge gives rho of about -2; without information |rho| is about 1.",
        "The margin is the largest difference that does not matter in a "
        "[verdict](../concepts/verdict.md). `design.metrics` takes any metric that has one.",
    ]
    columns = ("metric", "unit", "best", "margin", "meaning")
    for title, entries in (("Of tracks", tracks), ("Of a training", training)):
        rows = [(f"`{name}`", *told[:-1], margin(name), told[-1]) for name, *told in entries]
        parts += [f"## {title}", table(columns, rows)]
    return "\n\n".join([*parts, "## The resolution fit", RESOLUTION_FIT]) + "\n"


def unit(metric: Metric) -> str:
    """Unit of the values in files, where a share is no percentage."""
    return "share" if metric.unit == "%" else metric.unit


def margin(name: str) -> str:
    """The margin of a metric, as a share where it is compared as a logarithm; or nothing."""
    if name not in MARGINS:
        return ""
    found = MARGINS[name]
    return f"{math.expm1(found.margin):.0%}" if found.scale == "log" else f"{found.margin:g}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def comment(path: Path) -> list[str]:
    """The lines of the comment that a file begins with."""
    found = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            found.append(line[1:].strip())
    return found


def plain(docstring: str | None) -> str:
    """The first paragraph of a docstring, as Markdown."""
    first = inspect.cleandoc(docstring or "").partition("\n\n")[0]
    return " ".join(first.replace("``", "`").split())
