"""Dry run of a command: its jobs with parameters and expected time, before anything is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from headsweep.config import TracksConfig
from headsweep.events.hepattn import FEATURES
from headsweep.identity import stable_hash
from headsweep.sweep.compose import Job
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.plan import Plan, distinct, make_plan
from headsweep.terminal import console, duration, preparing, print_table
from headsweep.training.builder import member_builder, population_builder
from headsweep.training.size import parameter_counts
from headsweep.training.targets import Target
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
    """Cost of one job: steps, seeds, trained parameters, and seconds of training."""

    label: str
    steps: int
    seeds: int
    parameters: int
    seconds: float


def print_costs(costs: Sequence[JobCost]) -> None:
    """Print what would run."""
    rows = []
    for number, row in enumerate(costs):
        counts = (f"{row.steps:,}", str(row.seeds), f"{row.parameters:,}")
        rows.append([str(number), row.label, *counts, duration(row.seconds)])
    print_table(["job", "overrides", "steps", "seeds", "parameters", "time"], rows, words=(0, 1))


def dry_run(plan: Plan) -> int:
    """Print the jobs of a plan with their budget, parameters and expected time; returns 0."""
    terminal = console()
    with preparing(terminal) as report:
        report("timing a few steps", 0.0)
        found = job_costs(plan)
    print_costs(found)
    total = sum(row.seconds for row in found)
    if plan.trials is not None:
        print(f"a search of {plan.trials} trials; above, its fixed part and the ends of its ranges")
        total *= plan.trials / len(found)
    workers = min(plan.jobs[0].config.workers, plan.trials or len(found))
    print(
        f"expected: {duration(total / workers)} of training with workers={workers}, and the data "
        "and feature caches that are not there yet"
    )
    return 0


@lru_cache(maxsize=1)
def preset_parameters() -> dict[str, dict[str, int]]:
    """Parameter counts of every preset, of the document's "before", and of hepattn's classes.

    For D = 32, the 23 hit features of the spectrometer and four outputs.
    """
    return {
        name: _parameters(make_plan(["backbone=truth", choice], multirun=False).jobs[0])
        for name, choice in COUNTED.items()
    }


def job_costs(plan: Plan) -> list[JobCost]:
    """Budget, parameters and expected training time of each job of a plan."""
    torch.set_num_threads(plan.jobs[0].config.threads)
    times: dict[str, float] = {}
    found = []
    for job, label in zip(plan.jobs, distinct(plan.jobs), strict=True):
        optim, seeds = job.config.optim, list(range(job.config.seeds))
        what = [job.resolved[key] for key in ("head", "pooling", "target", "optim")]
        key = stable_hash([*what, len(seeds)])  # jobs that differ in data alone cost the same
        sizes = _sizes(job)
        if key not in times:
            build = population_builder(job.resolved, *sizes)
            times[key] = estimate_seconds(build, seeds, *sizes, optim)
        total = _parameters(job)["total"]
        found.append(JobCost(label, optim.steps, len(seeds), total, times[key]))
    return found


def _parameters(job: Job) -> dict[str, int]:
    inputs, dim, outputs = _sizes(job)
    member = member_builder(job.resolved, inputs, dim, outputs)()
    return parameter_counts(member, job.config.pooling, dim)


def _sizes(job: Job) -> tuple[int, int, int]:
    """Hit features, width of the transformer and outputs: F, D, O."""
    source = job.config.data.source
    if isinstance(source, TracksConfig):
        inputs = len(source.features) + len(source.derived)
    else:
        inputs = len(FEATURES)
    return inputs, find_inputs(job).backbone.dim, Target.outputs_of(job.config.target)
