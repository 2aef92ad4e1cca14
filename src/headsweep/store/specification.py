"""Specification of a sweep, ``spec.yaml``: what it is, and which job has which number.

A grid may grow: a command that shares a job with it adds its other jobs under new numbers, and no
job ever changes its number. Job 0 stays the control.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from headsweep.errors import DamagedError, UserError, without_secrets
from headsweep.files import MEND, flat, locked, write_sealed
from headsweep.identity import identity, without_effect
from headsweep.store import paths
from headsweep.store.members import fresh_seed, used_seeds
from headsweep.store.names import free_name
from headsweep.store.outcome import Outcome
from headsweep.store.runs import find_jobs, read_config, read_job, read_spec

Spec = dict[str, Any]

GROWING = {"seeds", "n_trials"}
"""Numbers of a sweep's specification that may be raised."""

OF_JOBS = {"jobs", "config", "keys", "same", "inputs"}
"""Parts of a grid's specification that follow from its jobs, and grow with them."""


def grid_spec(labels: Mapping[str, str], identities: Mapping[str, Mapping[str, Any]]) -> Spec:
    """Part of a grid's specification that follows from its jobs.

    Args:
        labels: Words for each job by its key, in the order of the numbers.
        identities: Of each, what decides its results, with dotted keys.

    Returns:
        ``keys``, those of the jobs by number; ``config``, what all of them share; and ``jobs``,
        what each has of its own, by its number and label.
    """
    all_values = [identities[key] for key in labels]
    shared = {
        key: value
        for key, value in all_values[0].items()
        if all(key in other and other[key] == value for other in all_values)
    }
    own = [{key: v for key, v in values.items() if key not in shared} for values in all_values]
    names = [f"{number} {label}" for number, label in enumerate(labels.values())]
    return {"jobs": dict(zip(names, own, strict=True)), "config": shared, "keys": [*labels]}


def claim_sweep(folder: Path, spec: Mapping[str, Any]) -> Spec:
    """Give a sweep folder to one specification, or refuse it to another.

    Of the ``GROWING`` numbers the larger one stands, so that more of them extend a sweep and fewer
    change nothing. The same holds for the jobs of a grid, as far as one of them is there already.

    Args:
        folder: ``root/sweeps/<name>``.
        spec: The specification of the sweep, as plain values.

    Returns:
        The specification that now stands in ``spec.yaml``.

    Raises:
        UserError: The folder belongs to another specification; the message lists each difference.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted: Spec = yaml.safe_load(yaml.safe_dump(without_secrets(dict(spec))))
    with locked(folder / ".spec.lock"):
        try:
            written = read_spec(folder)
        except DamagedError as error:
            written = {}
            print(f"{error.args[0].removesuffix(MEND)}written again", file=sys.stderr)
        if stored := written or _rebuilt(folder, wanted):
            wanted = _merged(folder, stored, wanted)
        if wanted != written:
            write_sealed(folder / paths.SPEC, wanted)
    return wanted


def _merged(folder: Path, stored: Spec, wanted: Spec) -> Spec:
    """The specification of both, or a refusal."""
    grows = not set(wanted.get("keys", ())).isdisjoint(stored.get("keys", ()))
    if "confirm" in stored or "confirm" in wanted:  # whose finalists are known by their numbers
        grows = grows and wanted["keys"] == stored["keys"]
    lines = [*_differences(stored, wanted, grows)]
    if lines:
        raise UserError(
            "\n".join([f"{folder}: this name belongs to another sweep:", *lines])
            + f"\nkeep both with {_apart(folder, wanted)}"
        )
    merged = stored | wanted | {key: stored[key] for key in OF_JOBS & stored.keys() if grows}
    for key in GROWING & stored.keys() & wanted.keys():
        merged[key] = max(stored[key], wanted[key])
    return _grown(merged, stored, wanted) if grows else merged


def _apart(folder: Path, wanted: Spec) -> str:
    """What to add to a command so that its sweep is another one, and may use its seeds."""
    root = folder.parents[1]
    name = f"name={free_name(root, folder.name)}"
    design = wanted.get("design", {})
    if design.get("split") != "test" or design["kind"] == "claims" or "keys" not in wanted:
        return name
    seeds = range(wanted["seed"], wanted["seed"] + wanted["seeds"])
    first = fresh_seed(used_seeds(root, wanted["keys"]), seeds)
    return name if first == seeds.start else f"{name} seed={first}"


def _grown(merged: Spec, stored: Spec, wanted: Spec) -> Spec:
    """A grid with the jobs of two specifications; those of the first keep their numbers."""
    merged |= _numbered([*dict.fromkeys([*stored["keys"], *wanted["keys"]])], stored, wanted)
    merged["inputs"] = {
        key: sorted({*value, *wanted["inputs"][key]}) if isinstance(value, list) else value
        for key, value in stored["inputs"].items()
    }
    return merged


def _numbered(keys: Sequence[str], *specs: Spec) -> Spec:
    """The parts of a grid that follow from its jobs, which are numbered in the order of the keys.

    Args:
        keys: Of all jobs.
        specs: Those that know them; the first that knows a job gives its label.
    """
    labels: dict[str, str] = {}
    identities: dict[str, Mapping[str, Any]] = {}
    numbers = {key: number for number, key in enumerate(keys)}
    same: dict[str, int] = {}
    for spec in specs:
        for key, (name, own) in zip(spec["keys"], spec["jobs"].items(), strict=True):
            labels.setdefault(key, name.partition(" ")[2])
            identities.setdefault(key, {**spec["config"], **own})
        same |= {label: numbers[spec["keys"][n]] for label, n in spec.get("same", {}).items()}
    parts = grid_spec({key: labels[key] for key in keys}, identities)
    return parts | ({"same": same} if same else {})


def _differences(stored: Spec, wanted: Spec, grows: bool) -> Iterator[str]:
    """A line for each key in which two specifications are not of one sweep."""
    ignored = OF_JOBS if grows else {"keys", "same"}
    have, want = (flat({k: v for k, v in s.items() if k not in ignored}) for s in (stored, wanted))
    missing, equal = "(not set)", True
    for key in sorted({*have, *want}):
        if key in GROWING and key in have and key in want:
            continue
        if have.get(key, missing) != want.get(key, missing):
            equal = False
            yield f"  {key}: {have.get(key, missing)} there, {want.get(key, missing)} here"
    if equal and not grows and stored.get("keys") != wanted.get("keys"):
        yield f"  keys: {stored.get('keys')} there, {wanted.get('keys')} here"


def _rebuilt(folder: Path, wanted: Spec) -> Spec:
    """The specification of a folder that has none: the wanted one, where all jobs there fit it.

    Returns:
        The wanted one, with the jobs under the numbers that they have; empty without jobs.

    Raises:
        UserError: A job is of another sweep; the message names it.
    """
    there: dict[int, str] = {}
    if "config" not in wanted:  # nothing by which jobs could be known
        return {}
    for job in find_jobs(folder):
        try:
            about = read_job(job)
            fits = about is None or _belongs(job, about["job_key"], wanted)
        except DamagedError:  # it will be trained again
            continue
        if about is not None:
            there[int(job.name)] = about["job_key"]
            once = [*there.values()].count(about["job_key"]) == 1
            fits = fits and (once or "search" in wanted)  # where a configuration may come again
        if not fits:
            raise _refusal(folder, job.name)
    if not there or "keys" not in wanted:
        return {}
    rest = [key for key in wanted["keys"] if key not in there.values()]
    total = len(there) + len(rest)
    for number in there:
        if number >= total:
            raise _refusal(folder, number)
    keys = [there[n] if n in there else rest.pop(0) for n in range(total)]
    return wanted | _numbered(keys, wanted)


def _refusal(folder: Path, job: object) -> UserError:
    return UserError(
        f"{folder / paths.SPEC}: missing or damaged, and {paths.JOBS}/{job} is of another sweep "
        f"than this command; give the command that made it, or "
        f"name={free_name(folder.parents[1], folder.name)}"
    )


def _belongs(job: Path, key: str, wanted: Spec) -> bool:
    """Whether a job may be one of a specification."""
    outcome = Outcome.read(job)
    if "search" not in wanted:
        return key in wanted.get("keys", ()) and (outcome is None or not outcome.params)
    chosen = [*wanted["search"]]
    if outcome is None or not (wanted["custom_search_space"] or {*outcome.params} <= {*chosen}):
        return False
    first = dict(enumerate(wanted.get("first", ())))
    if outcome.origin != first.get(int(job.name), {"origin": ""})["origin"]:
        return False
    if "arm" in chosen or wanted["custom_search_space"]:  # which may change any key
        return True
    have, want = flat(identity(read_config(job))), flat(wanted["config"])
    groups = tuple(f"{key.replace('/', '.')}." for key in chosen)
    free = {*chosen, *without_effect(have), *without_effect(want)}
    others = (k for k in {*have, *want} if k not in free and not k.startswith(groups))
    return all(have.get(k) == want.get(k) for k in others)
