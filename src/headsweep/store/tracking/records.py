"""Contents of MLflow runs, read from run folders; knows nothing of MLflow.

A grid's job and a single run have a record of their own and one for each member. A search's trial
has one record for all of its seeds.
"""

import json
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from csv import DictReader
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

from headsweep.config import LossConfig, TargetConfig
from headsweep.files import short_key
from headsweep.identity import inert, learnt
from headsweep.store import paths
from headsweep.store.labels import FOLD_KEYS
from headsweep.store.outcome import Outcome
from headsweep.store.runs import open_file, read_config, read_job, read_results, read_spec

MAIN = "val_qoverpt_r68"
"""The metric that every row of MLflow's page shows, first."""

REPORTED = ("dev_", "test_")
"""Beginnings of the metrics that a report adds to the runs of its jobs."""


class LoggedMetric(NamedTuple):
    """One value of a metric, as MLflow has it: its steps may be evaluations or all be 0."""

    name: str
    value: float
    step: int


class TrainingData(NamedTuple):
    """Name of a data set, its digest, and its source as JSON."""

    name: str
    digest: str
    source: str


@dataclass(frozen=True)
class RunRecord:
    """Content of one MLflow run.

    Attributes:
        folder: The folder it is written from, and is found again by.
        name: For people.
        status: ``FINISHED``, ``FAILED`` or ``KILLED``.
        start: In ms.
        end: In ms.
        tags: Facts that may change when the sweep goes on.
        params: Facts that may not.
        metrics: Each name and step once.
        files: Those to be copied.
        data: The data set of the training.
    """

    folder: Path
    name: str
    status: str
    start: int
    end: int
    tags: Mapping[str, Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[LoggedMetric] = ()
    files: Sequence[Path] = ()
    data: TrainingData | None = None


@dataclass(frozen=True)
class JobState:
    """The part of a job that the record of its sweep needs.

    Attributes:
        name: Of its folder.
        outcome: Of a trial, without its history.
        statuses: Of its members.
        row: What it is, in words.
        fold: Whether it is a part of a cross-validation, whose parts share their words.
        data: Name of its data.
        values: ``MAIN`` of each finished member.
        start: In ms.
        end: In ms.
    """

    name: str
    outcome: Outcome | None
    statuses: Sequence[str]
    row: str
    fold: bool
    data: str
    values: Sequence[float]
    start: int
    end: int


@dataclass(frozen=True)
class JobRecords:
    """Records of a job folder: the job's, those of its members, and what its sweep needs."""

    job: RunRecord
    members: Sequence[RunRecord]
    state: JobState


def objectives(sweep: Path) -> list[str]:
    """Objectives of a search; empty for a grid."""
    spec = read_spec(sweep)
    return list(spec["objective"]) if "search" in spec else []


def read_records(folder: Path, searched: Sequence[str] = ()) -> JobRecords | None:
    """Records of a job folder.

    Args:
        folder: The job folder.
        searched: The objectives of its search; empty for a grid's job or a single run.

    Returns:
        The records; None where there is nothing yet, or a worker moves it at this moment.
    """
    try:
        job = _JobFolder(folder)
        if job.empty:
            return None
        own = job.trial_record(searched) if searched else job.record()
        members = [] if searched else [job.member_record(seed) for seed in job.results]
        return JobRecords(own, members, job.state())
    except FileNotFoundError:
        return None


def read_state(folder: Path) -> JobState | None:
    """State of a job folder for the record of its sweep; None as in ``read_records``."""
    try:
        job = _JobFolder(folder)
        return None if job.empty else job.state()
    except FileNotFoundError:
        return None


class _JobFolder:
    """A job folder, read for MLflow; it has no ``job.json`` where it could not be trained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outcome = Outcome.read(folder)
        self.about = read_job(folder)
        self.results = read_results(folder)
        self.finished = {s: r for s, r in self.results.items() if r["status"] == "finished"}

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.yaml``."""
        return read_config(self.folder) if self.about is not None else {}

    @property
    def empty(self) -> bool:
        """True while there is nothing to show."""
        return self.about is None and self.outcome is None

    def state(self) -> JobState:
        """The part that the record of its sweep needs."""
        outcome = replace(self.outcome, intermediate={}, attrs={}) if self.outcome else None
        statuses = [result["status"] for result in self.results.values()]
        fold = self.about is not None and self.config["data"]["split"]["folds"] is not None
        values = [result["metrics"].get(MAIN) for result in self.finished.values()]
        return JobState(
            self.folder.name,
            outcome,
            statuses,
            self._words(FOLD_KEYS if fold else ()),
            fold,
            str(self._tags().get("data", "")),
            [value for value in values if value is not None],
            *self._times(self.results),
        )

    @property
    def name(self) -> str:
        """``conservative``, or with what else was chosen: ``conservative half lr=0.001``."""
        return self._words(())

    def _words(self, without: Sequence[str]) -> str:
        if self.about is None:
            return f"job {self.folder.name}"
        labels = self.about["labels"]
        others = (text.partition("=") for text in self.about["overrides"])
        words = [
            value if key in labels else f"{short_key(key)}={value}"
            for key, _, value in others
            if key not in ("head", "seed", "seeds", *without)
        ]
        return " ".join([labels["head"], *words])

    def record(self) -> RunRecord:
        """Record of the job itself: what its members share, and their means."""
        done = len(self.finished)
        failed = [(s, r["reason"]) for s, r in self.results.items() if r["status"] == "failed"]
        reasons = [f"seed {seed}: {reason}" for seed, reason in failed]
        first, seeds = self.config.get("seed", 0), self.config.get("seeds", 0)
        wanted = len({*range(first, first + seeds), *self.results})
        status = "FAILED" if self.results and not done else "FINISHED"
        status = status if len(self.results) == wanted else "KILLED"
        if self.outcome is not None:  # it could not be trained
            status = "FAILED"
            reasons.append(str(self.outcome.reason))
        about = {"status": f"{done} of {wanted} finished", "reason": "; ".join(reasons)}
        return RunRecord(
            self.folder,
            self.name,
            status,
            *self._times(self.results),
            {"level": "job", **self._tags(), **about},
            self._params(next(iter({**self.finished, **self.results}.values()), {})),
            _summary(self.finished.values()),
            self._files(paths.CONFIG, paths.OUTCOME, paths.TRACEBACK),
            self._data(),
        )

    def member_record(self, seed: int) -> RunRecord:
        """Record of one member."""
        result, folder = self.results[seed], paths.seed_folder(self.folder, seed)
        keys = ("member_key", "status", "reason", "best_step")
        about = {key: result[key] for key in keys if result.get(key) is not None}
        return RunRecord(
            folder,
            f"{self.name} seed {seed}",
            "FINISHED" if result["status"] == "finished" else "FAILED",
            *self._times([seed]),
            {"level": "seed", **self._tags(), **about},
            {**self._params(result), "seed": seed},
            [*_history(folder / paths.HISTORY), *_finals(result)],
            self._files(paths.CONFIG, f"{folder.name}/{paths.WEIGHTS}"),
            self._data(),
        )

    def trial_record(self, searched: Sequence[str]) -> RunRecord:
        """Record of a trial: only a complete one has its objectives under their plain names."""
        outcome = self.outcome or Outcome("failed", "it has no outcome")
        first = f"history/{searched[0]}"
        metrics = [LoggedMetric(first, value, at) for at, value in outcome.intermediate.items()]
        for seed, result in self.finished.items():
            own = [one for one in _finals(result) if one.name in (*_shown(), *searched)]
            metrics += [one._replace(name=f"seed_{seed}/{one.name}") for one in own]
        metrics += _summary(self.finished.values(), searched)
        if outcome.state == "complete":
            values = zip(searched, outcome.values, strict=True)
            metrics += [LoggedMetric(name, value, 0) for name, value in values]
            # One seed alone has no spread.
            spreads = zip(searched, outcome.spread, strict=False)
            metrics += [LoggedMetric(f"{name}_std", spread, 0) for name, spread in spreads]
        said = {key: text for key in ("reason", "origin") if (text := getattr(outcome, key))}
        return RunRecord(
            self.folder,
            f"trial {self.folder.name}",
            "FAILED" if outcome.state == "failed" else "FINISHED",
            *self._times(self.results),
            {"level": "trial", "trial_state": outcome.state, **said, **self._tags()},
            _readable(outcome.params) | self._params(next(iter(self.results.values()), {})),
            _once(metrics),
            self._files(paths.CONFIG, paths.OUTCOME, paths.TRACEBACK),
            self._data(),
        )

    def _times(self, seeds: Iterable[int]) -> tuple[int, int]:
        """First start and last end of the given members; of none, when the folder changed."""
        files = {seed: paths.seed_folder(self.folder, seed) / paths.RESULT for seed in seeds}
        # A copy of a folder has other times of files; results of older versions have no other.
        ends = {s: self.results[s].get("ended") or f.stat().st_mtime for s, f in files.items()}
        last = self.folder / paths.OUTCOME if self.outcome is not None else self.folder
        end = max(ends.values(), default=last.stat().st_mtime)
        starts = (at - (self.results[s].get("seconds") or 0.0) for s, at in ends.items())
        return int(1000 * min(starts, default=end)), int(1000 * end)

    def _files(self, *names: str) -> list[Path]:
        return [path for name in names if (path := self.folder / name).exists()]

    def _data(self) -> TrainingData | None:
        if self.about is None:
            return None
        source = json.dumps(self.config["data"]["source"])
        return TrainingData(self.about["labels"]["data"], self.about["data_key"][:8], source)

    def _params(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Flat values in effect: keys that do nothing in this head are 0, unset ones left out."""
        if self.about is None:
            return {}
        counts = result.get("parameters") or {}
        own, optim = self.config["head"], self.config["optim"]
        head = {short_key(key): value for key, value in {**own, **inert(own)}.items()}
        del head["_target_"]
        values = {key: value for key, value in {**head, **optim}.items() if value is not None}
        sizes = {k if k == "aggregated_dim" else f"params_{k}": v for k, v in counts.items()}
        # An arm changes values, not which files are chosen: of the other groups values are shown.
        files = ("head", "arm", "data", "backbone")
        chosen = {k: v for k, v in self.about["labels"].items() if k in files}
        return {**values, **sizes, **chosen, **self._inputs()}

    def _inputs(self) -> dict[str, Any]:
        """Inputs of the head, its target, and its loss as far as it is not the default."""
        pooling, features = self.config["pooling"], self.config["features"]
        target = TargetConfig(**self.config["target"])
        loss = learnt(self.config).get("loss", {})
        return {
            "pooling": pooling["width"],
            "statistics": " ".join(pooling["statistics"]),
            "inputs": " ".join(k for k in ("query", "raw", "encoded") if pooling[k]),
            "target": target.name,
            "target_relative": target.relative,
            "target_standardise": target.standardise,
            "target_pt_unit": target.pt_unit,
            "target_phi": target.phi,
            "loss": loss.pop("name", LossConfig.name),
            **{f"loss_{key}": value for key, value in loss.items()},
            "features": features["name"],
            "assignment_threshold": features["assignment_threshold"],
        }

    def _tags(self) -> dict[str, Any]:
        if self.about is None:
            return {}
        keys = ("job_key", "data_key", "checkpoint", "cache_key", "code_version")
        known = {key: self.about[key] for key in keys if self.about.get(key) is not None}
        labels, overrides = self.about["labels"], " ".join(self.about["overrides"])
        chosen = {"arm": labels.get("arm", ""), "data": labels.get("data", "")}
        return {**chosen, "overrides": overrides, **known}


def _readable(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a trial, named as ``_JobFolder._params`` names the same values."""
    flat = ("head.", "optim.")
    return {short_key(k) if k.startswith(flat) else k: value for k, value in params.items()}


def _finals(result: Mapping[str, Any]) -> list[LoggedMetric]:
    """Metrics of a member at its kept weights."""
    at, metrics = result.get("best_step") or 0, result.get("metrics", {})
    return [LoggedMetric(name, value, at) for name, value in metrics.items() if value is not None]


def _shown() -> list[str]:
    """Metrics of a member that are shown for its job, the main one first."""
    from headsweep.stats.metrics import shown

    return [f"val_{name}" for name in (*shown("main"), *shown("uncertainty"))]


def _summary(
    results: Collection[Mapping[str, Any]], searched: Sequence[str] = ()
) -> list[LoggedMetric]:
    """Mean and standard deviation of each shown metric over the members, and their number.

    MLflow's page that compares runs opens with the first. All other metrics stand in the runs of
    the members.
    """
    values: dict[str, list[float]] = {name: [] for name in (*_shown(), *searched)}
    for result in results:
        for metric in _finals(result):
            if metric.name in values:
                values[metric.name].append(metric.value)
    found = [
        metric for name, own in values.items() if own for metric in mean_and_deviation(name, own)
    ]
    return [*found, LoggedMetric("n", len(results), 0)] if found else []


def mean_and_deviation(name: str, values: Sequence[float]) -> list[LoggedMetric]:
    """Mean of some values, at least one, and of several their standard deviation (ddof 1)."""
    found = [LoggedMetric(f"{name}_mean", statistics.fmean(values), 0)]
    if len(values) > 1:
        found.append(LoggedMetric(f"{name}_std", statistics.stdev(values), 0))
    return found


def _once(metrics: Iterable[LoggedMetric]) -> list[LoggedMetric]:
    """Each name and step once, with its last value."""
    return list({(metric.name, metric.step): metric for metric in metrics}.values())


def _history(path: Path) -> list[LoggedMetric]:
    """Metrics of each evaluation, named apart: MLflow shows a metric's last step, not the kept."""
    if not path.exists():
        return []
    with TextIOWrapper(open_file(path.parent, path.name), encoding="utf-8", newline="") as file:
        cells = [
            LoggedMetric(f"history/{name}", float(value or "nan"), int(row["step"]))
            for row in DictReader(file)
            for name, value in row.items()
            if name != "step"
        ]
    return [cell for cell in cells if math.isfinite(cell.value)]
