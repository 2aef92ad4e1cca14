"""What training needs before it begins, the dry run, and the training of one configuration."""

import logging
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from headsweep.display import Followed, console, duration, following, look, preparing, show_rows
from headsweep.errors import UserError
from headsweep.jobs import Plan
from headsweep.keys import NUMERICS
from headsweep.run import start
from headsweep.store import read_results

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
    """Train one configuration: build its cache and the database, train, say what was done.

    Args:
        plan: The validated job.
        argv: The arguments of ``train``.

    Returns:
        The exit code: 0, or 1 where no member finished.

    Raises:
        UserError: The data cannot be used.
        KeyboardInterrupt: Ctrl-C; how to go on has been said.
    """
    terminal = console()
    [job] = plan.jobs
    with preparing(terminal) as report:
        [key], _ = prepare(plan, report)
    seeds = range(job.config.seed, job.config.seed + job.config.seeds)
    followed = Followed(Path(job.config.root) / "runs" / key, "run", seeds, key)
    before = followed.done()
    try:
        with following(partial(look, followed, time.time()), terminal):
            start(argv)
    except KeyboardInterrupt:
        print(f"{_counts(followed, before)}; go on with:", file=sys.stderr)
        print(f"  {shlex.join(['headsweep', 'train', *argv])}", file=sys.stderr)
        raise
    print(_counts(followed, before))
    results = [r for s, r in read_results(followed.folder).items() if s in seeds]
    failed = [result["reason"] for result in results if result["status"] == "failed"]
    for reason in failed:
        print(reason, file=sys.stderr)
    print(f"results: {followed.folder}")
    print(f"report: headsweep report {key}")
    return int(len(failed) == len(results))


def prepare(plan: Plan, report: Progress) -> tuple[list[str], dict[str, Any]]:
    """Everything that jobs share, made before any of them starts.

    Args:
        plan: The validated jobs.
        report: Told what is done and its share.

    Returns:
        The key of each job, and what identifies their inputs.

    Raises:
        UserError: The data, the device or the folder cannot be used.
    """
    logging.disable(logging.INFO)  # messages of Hydra and Optuna would break the display
    report("starting", 0.0)
    from headsweep import run, tracking
    from headsweep.freeze import cache_key

    config = plan.jobs[0].config
    _claim_root(Path(config.root))
    if plan.search is not None and plan.search.storage is not None:
        from headsweep.journal import open_database

        open_database(plan.search.storage, Path(config.root))  # a wrong one is found now
    for device in {job.config.device for job in plan.jobs}:
        run.check_device(device)
    inputs = [run.find_inputs(job) for job in plan.jobs]
    keys = [found.job_key for found in inputs]
    if plan.finalists is not None:
        assert plan.folder is not None
        seeds = range(config.seed, config.seed + config.seeds)
        plan.finalists.check_fresh(plan.folder, Path(config.root), keys, seeds)
    if config.design.split == "test":
        run.check_test(plan.jobs, inputs)
    caches = {}
    for job, found in zip(plan.jobs, inputs, strict=True):
        data, what = job.config.data, job.config.features
        key = cache_key(found.source, found.backbone, data.split, what, data.selection)
        caches[key] = (job, found)
    for number, (job, found) in enumerate(caches.values(), start=1):
        place = f"cache {number} of {len(caches)}" if len(caches) > 1 else "cache"
        run.build_features(job, found, partial(_report_at, report, place))
    if config.tracking and config.tracking_uri is None:
        report("MLflow", 1.0)
        tracking.init(Path(config.root))
    return keys, {
        "data": sorted({found.data_key for found in inputs}),
        "checkpoints": sorted({found.checkpoint for found in inputs}),
        "numerics": NUMERICS,
    }


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


def _counts(job: Followed, before: int) -> str:
    results = [r for seed, r in read_results(job.folder).items() if seed in job.seeds]
    failed = sum(result["status"] == "failed" for result in results)
    words = f"{job.done()} of {len(job.seeds)} members are done, {before} of them were there before"
    return f"{words}; {failed} of them failed" if failed else words
