"""From validated jobs to finished run folders: prepare once, let Hydra run them, follow them."""

import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import yaml

from headsweep.config import NUMERICS
from headsweep.display import Followed, console, duration, following, preparing, show_rows
from headsweep.errors import UserError
from headsweep.jobs import Job, Plan, distinct
from headsweep.run import OBJECTIVE, Inputs, single_folder, start
from headsweep.store import claim_sweep, read_results

Progress = Callable[[str, float], None]


def dry_run(plan: Plan) -> int:
    """Print the jobs of a plan with their budget, parameters and expected time; returns 0."""
    terminal = console()
    with preparing(terminal) as report:
        report("timing a few steps", 0.0)
        from headsweep.preview import rows

        found = rows(plan)
    show_rows(found, terminal)
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


def launch(plan: Plan, argv: Sequence[str]) -> int:
    """Run a plan: claim its folder, build caches and database once, train, say what was done.

    Args:
        plan: The validated jobs.
        argv: The arguments of ``train``.

    Returns:
        The exit code: 0, or 1 where a job has no finished member.

    Raises:
        UserError: The data cannot be used, or the name belongs to another sweep.
        KeyboardInterrupt: Ctrl-C; what is finished and how to go on has been said.
    """
    logging.disable(logging.INFO)  # messages of Hydra and Optuna would break the display
    terminal = console()
    with preparing(terminal) as report:
        jobs = _prepare(plan, report)
    before = sum(job.done() for job in jobs)
    try:
        if before == sum(len(job.seeds) for job in jobs):
            _track(plan, jobs)
        else:
            with following(jobs, terminal):
                start(_hydra_arguments(plan, argv))
    except KeyboardInterrupt:
        print(f"{_counts(jobs, before)}; go on with:", file=sys.stderr)
        print(f"  {shlex.join(['headsweep', 'train', *argv])}", file=sys.stderr)
        raise
    except UserError:
        raise
    except ValueError as error:  # Optuna's, where no trial has a value
        if plan.trials is None or any(map(_has_value, jobs)) or not any(j.done() for j in jobs):
            raise
        _conclude(plan, jobs)
        raise UserError(
            "no trial has a finished member, so there is no best one; "
            "choose ranges in which the head trains"
        ) from error
    except BrokenProcessPool as error:
        raise UserError(
            f"a worker was killed, perhaps for want of memory: {_counts(jobs, before)}; go on "
            "with the same command, and with workers=1 if it happens again"
        ) from error
    print(_counts(jobs, before))
    return _conclude(plan, jobs)


def _prepare(plan: Plan, report: Progress) -> list[Followed]:
    """Everything that jobs share, made before any of them starts; the jobs to follow."""
    report("starting", 0.0)
    from headsweep import run, tracking
    from headsweep.freeze import cache_key

    _claim_root(Path(plan.jobs[0].config.root))
    for job in plan.jobs:
        run.check_device(job.config.device)
    inputs = [run.find_inputs(job) for job in plan.jobs]
    caches = {}
    for job, found in zip(plan.jobs, inputs, strict=True):
        split, what = job.config.data.split, job.config.features
        caches[cache_key(found.source, found.backbone, split, what)] = (job, found)
    for number, (job, found) in enumerate(caches.values(), start=1):
        place = f"cache {number} of {len(caches)}" if len(caches) > 1 else "cache"
        run.build_features(job, found, partial(_report_at, report, place))
    if plan.folder is not None:  # claimed now, when its data are known to be usable
        keys = {
            "data": sorted({found.data_key for found in inputs}),
            "checkpoints": sorted({found.checkpoint for found in inputs}),
            "numerics": NUMERICS,
        }
        claim_sweep(plan.folder, {**plan.spec, "inputs": keys})
    config = plan.jobs[0].config
    if config.tracking:
        report("MLflow", 1.0)
        tracking.init(Path(config.root))
    return _followed(plan, inputs)


def _claim_root(root: Path) -> None:
    """Make the folder of all output, or say that it cannot be."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise UserError(f"root={root}: cannot be written ({error})") from error


def _report_at(report: Progress, place: str, text: str, share: float) -> None:
    report(f"{place}: {text}", share)


def _followed(plan: Plan, inputs: Sequence[Inputs]) -> list[Followed]:
    """The jobs to be, with their folders; of a search its trials."""
    if plan.folder is None:
        key = inputs[0].job_key
        return [_follow(plan.jobs[0], single_folder(plan.jobs[0], inputs[0]), "run", key)]
    folder = plan.folder / "jobs"
    if plan.trials is not None:
        trials = range(plan.trials)
        return [_follow(plan.jobs[0], folder / str(n), f"trial {n}") for n in trials]
    return [
        _follow(job, folder / str(number), f"job {number} {label}", found.job_key)
        for number, (job, label, found) in enumerate(
            zip(plan.jobs, distinct(plan.jobs), inputs, strict=True)
        )
    ]


def _follow(job: Job, folder: Path, label: str, key: str | None = None) -> Followed:
    seeds = range(job.config.seed, job.config.seed + job.config.seeds)
    return Followed(folder, label, seeds, key)


def _has_value(job: Followed) -> bool:
    results = read_results(job.folder).values()
    return any(result["metrics"].get(OBJECTIVE) is not None for result in results)


def _hydra_arguments(plan: Plan, argv: Sequence[str]) -> list[str]:
    flags = {"-m", "--multirun"}
    if plan.folder is None:
        return list(argv)
    return ["--multirun", *plan.added, *(a for a in argv if a not in flags)]


def _track(plan: Plan, jobs: Sequence[Followed]) -> None:
    """Bring MLflow in line with jobs that are all there: an earlier command may have failed to."""
    from headsweep.run import track

    config = plan.jobs[0].config
    if config.tracking:
        for job in jobs:
            track(Path(config.root), job.folder)


def _counts(jobs: Sequence[Followed], before: int) -> str:
    done = sum(job.done() for job in jobs)
    members = sum(len(job.seeds) for job in jobs)
    results = [r for job in jobs for s, r in read_results(job.folder).items() if s in job.seeds]
    failed = sum(result["status"] == "failed" for result in results)
    words = f"{done} of {members} members are done, {before} of them were there before"
    return f"{words}; {failed} of them failed" if failed else words


def _conclude(plan: Plan, jobs: Sequence[Followed]) -> int:
    """Say what failed and where to look; the exit code."""
    code = 0
    for job in jobs:
        results = [r for s, r in read_results(job.folder).items() if s in job.seeds]
        failed = [result["reason"] for result in results if result["status"] == "failed"]
        for reason in failed:
            print(f"{job.label}: {reason}", file=sys.stderr)
        if len(failed) == len(results):
            code = 1
    if plan.folder is None:
        print(f"results: {jobs[0].folder}")
        print(f"report: headsweep report {jobs[0].folder.name}")
        return code
    best = plan.folder / "optimization_results.yaml"
    if plan.trials is not None and best.exists():
        found = yaml.safe_load(best.read_text())
        print(f"best: {found['best_value']:.4f} with {found['best_params']}")
    print(f"report: headsweep report {plan.folder.name}")
    return code
