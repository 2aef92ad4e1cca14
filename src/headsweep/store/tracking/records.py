"""Contents of MLflow runs, read from run folders; knows nothing of MLflow.

A grid's job and a single run have a record of their own and one for each member. A search's trial
has one record for all of its seeds.
"""

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from csv import DictReader
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

from headsweep.config import TargetConfig
from headsweep.files import short_key
from headsweep.identity import inert
from headsweep.store import paths
from headsweep.store.outcome import Outcome, best_trials, pooled
from headsweep.store.runs import open_file, read_config, read_job, read_results, read_spec


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
        start: In ms.
        end: In ms.
    """

    name: str
    outcome: Outcome | None
    statuses: Sequence[str]
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


def sweep_record(folder: Path, jobs: Sequence[JobState], searched: Sequence[str]) -> RunRecord:
    """Record of a sweep that has jobs: counts, and what a search found. All of it may change."""
    members = Counter(status for job in jobs for status in job.statuses)
    tags: dict[str, Any] = {
        "level": "sweep",
        "jobs": len(jobs),
        "members_finished": members["finished"],
        "members_failed": members["failed"],
    }
    if searched:
        del tags["jobs"]
        states = Counter(job.outcome.state for job in jobs if job.outcome)
        counts = {f"trials_{state}": states[state] for state in ("complete", "pruned", "failed")}
        tags |= {**counts, "members_pruned": members["pruned"], "objective": " ".join(searched)}
        tags |= _best(jobs, searched)
    start, end = min(job.start for job in jobs), max(job.end for job in jobs)
    return RunRecord(folder, folder.name, "FINISHED", start, end, tags)


def _best(jobs: Sequence[JobState], searched: Sequence[str]) -> dict[str, Any]:
    """The best trial with its interval over the seeds; of several objectives the Pareto front."""
    from headsweep.stats.metrics import METRICS

    metrics = [METRICS.get(name.removeprefix("val_")) for name in searched]
    outcomes = pooled({int(job.name): job.outcome for job in jobs if job.outcome is not None})
    best = best_trials(
        outcomes, ["maximize" if m and m.better == "higher" else "minimize" for m in metrics]
    )
    if not best:
        return {}
    if len(searched) > 1:
        return {"pareto_front": " ".join(map(str, sorted(best)))}
    return {"best_trial": best[0], **_interval(outcomes[best[0]])}


def _interval(outcome: Outcome) -> dict[str, Any]:
    import numpy as np

    from headsweep.stats.intervals import t_interval

    found = t_interval(np.array([values[0] for values in outcome.seeds.values()]))
    tags = {
        "best_params": " ".join(f"{key}={value}" for key, value in outcome.params.items()),
        "best_mean": f"{found.mean:.6g}",
        "best_n": found.n,
    }
    if found.n > 1:
        low, high = found.mean - found.half, found.mean + found.half
        tags |= {"best_low": f"{low:.6g}", "best_high": f"{high:.6g}"}
    return tags


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
        return JobState(self.folder.name, outcome, statuses, *self._times(self.results))

    @property
    def name(self) -> str:
        """``conservative``, or with what else was chosen: ``conservative half lr=0.001``."""
        if self.about is None:
            return f"job {self.folder.name}"
        labels = self.about["labels"]
        others = (text.partition("=") for text in self.about["overrides"])
        words = [
            value if key in labels else f"{short_key(key)}={value}"
            for key, _, value in others
            if key not in ("head", "seed", "seeds")
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
            metrics += [one._replace(name=f"seed_{seed}/{one.name}") for one in _finals(result)]
        metrics += _summary(self.finished.values())
        if outcome.state == "complete":
            values = zip(searched, outcome.values, strict=True)
            metrics += [LoggedMetric(name, value, 0) for name, value in values]
            # One seed alone has no spread.
            spreads = zip(searched, outcome.spread, strict=False)
            metrics += [LoggedMetric(f"{name}_std", spread, 0) for name, spread in spreads]
        reason = {} if outcome.reason is None else {"reason": outcome.reason}
        return RunRecord(
            self.folder,
            f"trial {self.folder.name}",
            "FAILED" if outcome.state == "failed" else "FINISHED",
            *self._times(self.results),
            {"level": "trial", "trial_state": outcome.state, **reason, **self._tags()},
            _readable(outcome.params) | self._params(next(iter(self.results.values()), {})),
            _once(metrics),
            self._files(paths.CONFIG, paths.OUTCOME, paths.TRACEBACK),
            self._data(),
        )

    def _times(self, seeds: Iterable[int]) -> tuple[int, int]:
        """First start and last end of the given members; of none, when the folder changed."""
        files = {seed: paths.seed_folder(self.folder, seed) / paths.RESULT for seed in seeds}
        ends = {seed: file.stat().st_mtime for seed, file in files.items()}
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
        """Inputs of the head, and its target."""
        pooling, features = self.config["pooling"], self.config["features"]
        target = TargetConfig(**self.config["target"])
        return {
            "pooling": pooling["width"],
            "statistics": " ".join(pooling["statistics"]),
            "inputs": " ".join(k for k in ("query", "raw", "encoded") if pooling[k]),
            "target": target.name,
            "target_relative": target.relative,
            "target_standardise": target.standardise,
            "target_pt_unit": target.pt_unit,
            "features": features["name"],
            "assignment_threshold": features["assignment_threshold"],
        }

    def _tags(self) -> dict[str, Any]:
        if self.about is None:
            return {}
        keys = ("job_key", "data_key", "checkpoint", "cache_key", "code_version")
        known = {key: self.about[key] for key in keys if self.about.get(key) is not None}
        arm, overrides = self.about["labels"].get("arm", ""), " ".join(self.about["overrides"])
        return {"arm": arm, "overrides": overrides, **known}


def _readable(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a trial, named as ``_JobFolder._params`` names the same values."""
    flat = ("head.", "optim.")
    return {short_key(k) if k.startswith(flat) else k: value for k, value in params.items()}


def _finals(result: Mapping[str, Any]) -> list[LoggedMetric]:
    """Metrics of a member at its kept weights."""
    at, metrics = result.get("best_step") or 0, result.get("metrics", {})
    return [LoggedMetric(name, value, at) for name, value in metrics.items() if value is not None]


def _summary(results: Iterable[Mapping[str, Any]]) -> list[LoggedMetric]:
    """Mean, standard deviation (ddof 1, for two and more) and number of each final metric."""
    values: dict[str, list[float]] = {}
    for result in results:
        for metric in _finals(result):
            values.setdefault(metric.name, []).append(metric.value)
    found: list[LoggedMetric] = []
    for name, numbers in values.items():
        found.append(LoggedMetric(f"{name}_mean", statistics.fmean(numbers), 0))
        found.append(LoggedMetric(f"{name}_n", len(numbers), 0))
        if len(numbers) > 1:
            found.append(LoggedMetric(f"{name}_std", statistics.stdev(numbers), 0))
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
