"""Dry run of a command: what is there, and what the rest costs, before anything is made.

It reads the folders below the root, and writes nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from headsweep.config import FrozenConfig, HepattnConfig, TracksConfig
from headsweep.errors import DataError
from headsweep.events.frozen import feature_names
from headsweep.events.hepattn import FEATURES, known_features
from headsweep.features.cache import FeatureSet
from headsweep.features.hit_features import HitFeatures
from headsweep.identity import stable_hash
from headsweep.store.members import MemberIndex
from headsweep.store.trials import OutcomeReader
from headsweep.sweep.compose import Job
from headsweep.sweep.equal_jobs import merge_equal
from headsweep.sweep.inputs import Inputs, feature_folder, find_inputs
from headsweep.sweep.plan import Plan, distinct, make_plan
from headsweep.sweep.prepare import find_all_inputs
from headsweep.sweep.rates import RateTrials
from headsweep.terminal import console, duration, preparing, print_table
from headsweep.training.builder import member_builder, population_builder
from headsweep.training.loss import Loss
from headsweep.training.size import parameter_counts
from headsweep.training.targets import estimate_dim
from headsweep.training.timing import estimate_seconds

PRESETS = ("conservative", "more_capacity", "simpler", "direct_projection")
COUNTED = {
    "before": "arm=before",
    **{name: f"head={name}" for name in PRESETS},
    "hepattn before": "arm=before_200",
    "hepattn after": "arm=after_200",
}
"""What ``headsweep params`` counts, and how it is chosen."""


@dataclass(frozen=True)
class JobCost:
    """Cost of one job.

    Attributes:
        label: Overrides in which it differs.
        steps: Of each member.
        seeds: Number of its members.
        parameters: Trained parameters of each.
        there: Members that were trained before, wherever they lie below the root.
        seconds: Expected time of training the others.
    """

    label: str
    steps: int
    seeds: int
    parameters: int
    there: int
    seconds: float


def print_costs(costs: Sequence[JobCost]) -> None:
    """Print what would run."""
    rows = []
    for number, row in enumerate(costs):
        counts = (f"{row.steps:,}", str(row.seeds), f"{row.parameters:,}", str(row.there))
        time = duration(row.seconds) if row.seeds > row.there else "-"
        rows.append([str(number), row.label, *counts, time])
    heads = ["job", "overrides", "steps", "seeds", "parameters", "trained", "time"]
    print_table(heads, rows, words=(0, 1))


def dry_run(plan: Plan) -> int:
    """Print the jobs of a plan with their parameters, what is there and what the rest takes; 0."""
    lines, before = plan.lines, 0.0
    with preparing(console()) as report:
        report("looking at what is there", 0.0)
        if (trials := RateTrials.of(plan)) is not None:
            plan, line, before = _with_rates(plan, trials)
            lines.append(line)
        inputs = find_all_inputs(plan)
        if plan.batches:  # of a grid
            plan, inputs, same = merge_equal(plan, inputs)
            lines += same
        report("timing a few steps", 0.5)
        found = job_costs(plan, inputs)
        caches = _caches(plan, inputs)
    print_costs(found)
    for line in lines:
        print(line)
    left, total = sum(row.seeds > row.there for row in found), sum(row.seconds for row in found)
    if plan.trials is not None:
        there = {} if plan.folder is None else OutcomeReader(plan.folder).read()
        done = len({*there, *range(len(plan.search.taken) if plan.search is not None else 0)})
        left = max(plan.trials - done, 0)
        print(
            f"a search of {plan.trials} trials, {done} of them done; above, its fixed part and the "
            "ends of its ranges"
        )
        total *= left / len(found)
    if looks := plan.spec.get("looks"):
        print(
            "seeds=auto: above, what the first look takes; what it leaves open trains on, "
            f"{looks['every']} seeds at a time, up to {looks['most']}"
        )
    if left:
        workers = min(max(plan.jobs[0].config.workers, 1), left)
        rates = f", {duration(before)} of it for the learning rates" if before else ""
        time = duration(total / workers + before)
        print(f"expected: {time} of training with workers={workers}{rates}; {caches}")
    else:
        print("all of it was trained before: nothing is left to train")
    return 0


def _with_rates(plan: Plan, trials: RateTrials) -> tuple[Plan, str, float]:
    """The plan with the learning rates that are chosen by now, what is left to try, its seconds."""
    while True:
        own = trials.plan()
        inputs = find_all_inputs(own)
        values = trials.values([found.job_key for found in inputs])
        if any(math.isnan(value) for of_rate in values for value in of_rate.values()):
            merged, inputs, _ = merge_equal(own, inputs)
            costs = job_costs(merged, inputs)
            left = sum(cost.seeds - cost.there for cost in costs)
            workers = min(max(plan.jobs[0].config.workers, 1), len(costs))
            seconds = sum(cost.seconds for cost in costs) / workers
            words = (
                f"{trials.words()}: {left} trainings, {duration(seconds)}, before those above; "
                "they choose the rates, above are those of the table"
            )
            return plan, words, seconds
        wider = trials.continued(values)
        if wider == trials:
            return trials.applied(plan, values), "rates=auto: the learning rates are chosen", 0.0
        trials = wider


def _caches(plan: Plan, inputs: Sequence[Inputs]) -> str:
    """How many of the feature caches of a plan's jobs are there, in words."""
    jobs = zip(plan.jobs, inputs, strict=True)
    folders = {feature_folder(job, found) for job, found in jobs}
    words = [_state(folder) for folder in folders]
    there = words.count("there")
    if there == len(words):
        return "all feature caches are there" if there > 1 else "the feature cache is there"
    damaged = f", {words.count('damaged')} of them damaged" if "damaged" in words else ""
    return f"{len(words) - there} of {len(words)} feature caches are made before{damaged}"


def _state(folder: Path) -> str:
    """Whether a feature cache is ``there``, ``damaged`` or ``missing``."""
    if not folder.exists():
        return "missing"
    try:
        FeatureSet(folder)
    except DataError:
        return "damaged"
    return "there"


@lru_cache(maxsize=1)
def preset_parameters() -> dict[str, dict[str, int]]:
    """Parameter counts of every preset, of the document's "before", and of hepattn's classes.

    For D = 32, the 23 hit features of the spectrometer and four outputs.
    """
    return {
        name: _parameters(make_plan(["backbone=truth", choice], multirun=False).jobs[0])
        for name, choice in COUNTED.items()
    }


def job_costs(plan: Plan, inputs: Sequence[Inputs]) -> list[JobCost]:
    """Budget, parameters and expected training time of each job of a plan."""
    torch.set_num_threads(plan.jobs[0].config.threads)
    times: dict[str, float] = {}
    found = []
    index = MemberIndex(Path(plan.jobs[0].config.root))
    for job, own, label in zip(plan.jobs, inputs, distinct(plan.jobs), strict=True):
        # The jobs of a search stand for its ranges: none of them is trained.
        there = len(index.find(own.job_key, job.seeds)) if plan.trials is None else 0
        optim, missing = job.config.optim, list(job.seeds)[there:]
        what = [job.resolved[key] for key in ("head", "pooling", "target", "loss", "optim")]
        key = stable_hash([*what, len(missing)])  # jobs that differ in data alone cost the same
        features, dim, loss = _sizes(job)
        if key not in times:
            build = population_builder(job.resolved, features, dim, loss.outputs)
            size = (features, dim, loss)
            times[key] = estimate_seconds(build, missing, *size, optim) if missing else 0.0
        total = _parameters(job)["total"]
        found.append(JobCost(label, optim.steps, len(job.seeds), total, there, times[key]))
    return found


def _parameters(job: Job) -> dict[str, int]:
    features, dim, loss = _sizes(job)
    member = member_builder(job.resolved, features, dim, loss.outputs)()
    return parameter_counts(member, job.config.pooling, dim, estimate_dim(job.resolved))


def _sizes(job: Job) -> tuple[int, int, Loss]:
    """Hit features and width of the transformer, F and D, and the loss, which has the outputs."""
    source = job.config.data.source
    names: Sequence[str] = FEATURES
    if isinstance(source, TracksConfig):
        names = (*source.features, *source.derived)
    elif isinstance(source, FrozenConfig):
        names = feature_names(Path(source.path))
    elif isinstance(source, HepattnConfig) and source.features is not None:
        names = known_features(source.features)
    found = find_inputs(job)
    hits = HitFeatures.of_source(found.source, job.config.features.name)
    return len(hits.names(names)), found.backbone.dim, Loss.unfitted(job.resolved)
