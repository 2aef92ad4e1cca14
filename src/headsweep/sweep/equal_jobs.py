"""Equal jobs of a grid: they are trained once and counted once, and the command says which."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from headsweep.config import RUNTIME_KEYS
from headsweep.files import flat
from headsweep.identity import identity, own_width
from headsweep.store.specification import grid_spec
from headsweep.sweep.compose import Job
from headsweep.sweep.inputs import Inputs, with_width
from headsweep.sweep.plan import Plan, distinct
from headsweep.sweep.prepare import inputs_spec


def merge_equal(plan: Plan, inputs: Sequence[Inputs]) -> tuple[Plan, list[Inputs], list[str]]:
    """Jobs of a grid, each once, with the specification that follows from them.

    Args:
        plan: Of a grid, with all the jobs that the command line lists.
        inputs: Those of each job, by whose keys jobs are equal.

    Returns:
        The plan of the distinct jobs; their inputs; and a line for each job that is left out. In
        the specification ``same`` has the number of the job for the label of each that is.
    """
    names = [label or f"job {at}" for at, label in enumerate(distinct(plan.jobs))]
    first: dict[str, int] = {}
    lines, same = [], {}
    for at, found in enumerate(inputs):
        place = first.setdefault(found.job_key, at)
        if place != at:
            same[names[at]] = [*first].index(found.job_key)
            why = _difference(plan.jobs[place], plan.jobs[at])
            lines.append(f"{names[at]} is the same job as {names[place]}: {why}; it counts once")
    kept = [*first.values()]
    jobs = [plan.jobs[at] for at in kept]
    labels = dict(zip(first, distinct(jobs), strict=True))
    identities = {key: flat(identity(plan.jobs[at].resolved)) for key, at in first.items()}
    spec = plan.spec | grid_spec(labels, identities) | {"inputs": inputs_spec(inputs)}
    if same:
        spec["same"] = same
    if "confirm" in spec:
        spec["confirm"] = _renumbered(spec["confirm"], kept)
    merged = replace(plan, jobs=jobs, batches=[plan.batches[at] for at in kept], spec=spec)
    return merged, [inputs[at] for at in kept], lines


def _renumbered(confirm: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """The trials of a confirmation by their new numbers, without those that are a preset."""
    trials = {kept.index(at): trial for at, trial in confirm["jobs"].items() if at in kept}
    return confirm | {"jobs": trials}


def _difference(first: Job, second: Job) -> str:
    """Why two equal jobs were written as two."""
    have, want = flat(first.resolved), flat(second.resolved)
    keys = [
        key
        for key in dict.fromkeys([*have, *want])
        if have.get(key) != want.get(key) and key.partition(".")[0] not in RUNTIME_KEYS
    ]
    if not keys:
        return "all its values are equal"
    if keys == ["data.source.path"]:
        return "the events there are the same"
    if own_width(first.resolved["head"]) or own_width(second.resolved["head"]):
        width = with_width(first.resolved)["head"]["regression_hidden_dim"]
        return f"head.regression_hidden_dim=null is {width} in it"
    return f"{' and '.join(keys)} {'has' if len(keys) == 1 else 'have'} no effect in it"
