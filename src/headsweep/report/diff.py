"""Two jobs side by side: the settings and the figures on val that differ."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headsweep.config import RUNTIME_KEYS, TABLES
from headsweep.errors import UserError
from headsweep.files import flat, plain
from headsweep.identity import DROPPED, identity, without_effect
from headsweep.stats.intervals import Estimate
from headsweep.stats.metrics import METRICS
from headsweep.store import paths
from headsweep.store.figures import Figures, read_figures
from headsweep.store.runs import read_config, read_job
from headsweep.terminal import print_table

FACTS = {
    "data_key": "content of the data",
    "checkpoint": "frozen transformer",
    "cache_key": "frozen features",
    "code_version": "version of headsweep",
}
"""What ``job.json`` knows of a training beside its configuration, and how it is called."""

NOTE = (
    "figures on val, as the trainings stored them: mean and 95% interval over the seeds; a verdict "
    "is for the jobs of one sweep, from `headsweep report`"
)


@dataclass(frozen=True)
class Difference:
    """What differs between two jobs.

    Attributes:
        settings: Value of each dotted key in either; None where a job does not have it.
        figures: Both estimates of each metric that either has.
    """

    settings: Mapping[str, tuple[Any, Any]]
    figures: Mapping[str, tuple[Estimate, Estimate]]

    def setting_rows(self) -> list[list[str]]:
        """Cells of a table of the settings: key, and both values."""
        return [[key, *map(_word, pair)] for key, pair in self.settings.items()]

    def figure_rows(self) -> list[list[str]]:
        """Cells of a table of the figures: metric, both values, and the second against the first.

        Metrics that are compared as ratios change by a share, the others by a difference.
        """
        rows = []
        for name, (one, other) in self.figures.items():
            about = METRICS[name]
            values = [estimate.text(about.factor) for estimate in (one, other)]
            rows.append([about.head(), *values, _change(name, one.mean, other.mean)])
        return rows


def print_differences(root: Path, first: str, second: str, as_json: bool) -> None:
    """Print what differs between two jobs, see ``find_differences``."""
    found = find_differences(root, first, second)
    if as_json:
        print(json.dumps(plain(asdict(found)), indent=1))
        return
    if found.settings:
        print_table(["setting", first, second], found.setting_rows(), words=(0, 1, 2))
    else:
        print("no setting differs")
    if found.figures:
        print_table(["on val", first, second, "change"], found.figure_rows())
    print(NOTE)


def find_differences(root: Path, first: str, second: str) -> Difference:
    """Compare the settings and the stored figures of two jobs.

    Args:
        root: The folder of all output, where the jobs are named.
        first: Folder of a job, or key of a single run, or ``NAME/jobs/NUMBER`` of a sweep.
        second: The other, likewise.

    Raises:
        UserError: One is no job, or a file of it is damaged.
    """
    folders = [paths.find_job(root, name) for name in (first, second)]
    settings = [_settings(folder) for folder in folders]
    figures = [_figures(folder) for folder in folders]
    keys = dict.fromkeys([*settings[0], *settings[1]])
    pairs = {key: (settings[0].get(key), settings[1].get(key)) for key in keys}
    return Difference(
        {key: pair for key, pair in pairs.items() if pair[0] != pair[1]},
        {
            name: (one, figures[1].values[name])
            for name, one in figures[0].values.items()
            if not (math.isnan(one.mean) and math.isnan(figures[1].values[name].mean))
        },
    )


def _settings(folder: Path) -> dict[str, Any]:
    """Dotted keys of a job that may change its results, and what else is known of them."""
    about = read_job(folder)
    if about is None:
        raise UserError(f"{folder} {paths.NO_JOB}")
    own = read_config(folder)
    kept = DROPPED | flat({key: own[key] for key in own if key not in (*RUNTIME_KEYS, *TABLES)})
    idle = dict.fromkeys(kept.keys() & without_effect(flat(identity(own))), "no effect")
    return {**kept, **idle, **{word: about.get(key) for key, word in FACTS.items()}}


def _figures(folder: Path) -> Figures:
    [found] = read_figures(folder)
    return found


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


def _change(name: str, one: float, other: float) -> str:
    """What the second mean is against the first, in words; empty where one is not known."""
    if math.isnan(one) or math.isnan(other):
        return ""
    about = METRICS[name]
    if about.scale == "log" and one > 0:
        return f"{100 * (other / one - 1):+.1f}%"
    points = " points" if about.unit == "%" else ""
    return f"{(other - one) * about.factor:+.3g}{points}"
