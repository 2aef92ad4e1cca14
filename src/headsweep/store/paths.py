"""Names of all files and folders below a root, and where they stand.

::

    root/
      sweeps/<name>/                    a grid or a search
        spec.yaml                       what it runs
        command.txt                     the command that goes on with it
        journal.log                     Optuna's storage of a search
        jobs/<number>/                  a trained job or trial, a job folder as below
        attempts/<number>-<attempt>/    a job folder while a worker trains it
        leases/<number>.json            which worker that is
        logs/worker-<place>.log         what the workers of the last commands printed
        report/                         written by `headsweep report`
        looks.json                      how often its verdicts were read, with how many seeds
      runs/<key>/                       the job folder of a single run
        config.yaml job.json            its configuration; its keys and labels
        progress.json                   for the progress bar only
        outcome.json traceback.txt      how a trial ended, or why a job could not be trained
        code-<module>.py                the user's own code that it was trained with
        seed_<s>/                       a member, complete with its result.json
          result.json history.csv head.safetensors last.safetensors predictions_val.parquet
      orders/<name>/                    what workers started elsewhere are to train
      cache/{data,features}/<key>/      `files.cache_folder`
      mlflow.db mlartifacts/            the copy in MLflow
      test_ledger.jsonl                 readings of the test split
"""

import os
import re
import shlex
from pathlib import Path

from headsweep.errors import UserError

DEFAULT_ROOT = Path("runs")
"""The root where none is given; as ``root`` in the configuration."""

SWEEPS, RUNS, ORDERS = "sweeps", "runs", "orders"
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
LEDGER = "test_ledger.jsonl"
ROOT_ID = ".id"
"""Below a root: folders of sweeps, single runs and orders, MLflow's copy, the ledger, its name."""

SPEC, COMMAND, JOURNAL = "spec.yaml", "command.txt", "journal.log"
JOBS, ATTEMPTS, LEASES, LOGS, REPORT = "jobs", "attempts", "leases", "logs", "report"
LOOKS, SUMMARY = "looks.json", "summary.json"
"""In a sweep's folder."""

CONFIG, JOB, PROGRESS = "config.yaml", "job.json", "progress.json"
OUTCOME, TRACEBACK = "outcome.json", "traceback.txt"
"""In a job folder."""

CODE = "code-"
"""Begins the names of the user's own modules in a job folder, ``code-my_heads.py``."""

RESULT, HISTORY, PREDICTIONS = "result.json", "history.csv", "predictions_val.parquet"
WEIGHTS, LAST_WEIGHTS = "head.safetensors", "last.safetensors"
"""In a seed folder."""

NO_JOB = "is not the folder of a job; those are ROOT/sweeps/NAME/jobs/NUMBER and ROOT/runs/KEY"

_SEED = re.compile(r"seed_(\d+)")


def sweep_folder(root: Path, name: str) -> Path:
    """Folder of a sweep."""
    return root / SWEEPS / name


def sweep_folders(root: Path) -> list[Path]:
    """Folders of all sweeps below a root, by name."""
    return sorted(path for path in (root / SWEEPS).glob("*") if path.is_dir())


def run_folder(root: Path, key: str) -> Path:
    """Job folder of a single run."""
    return root / RUNS / key


def job_folder(sweep: Path, number: int | str) -> Path:
    """Folder of a job of a sweep."""
    return sweep / JOBS / str(number)


def attempt_folder(sweep: Path, number: int, attempt: int) -> Path:
    """Folder of a job while it is trained."""
    return sweep / ATTEMPTS / f"{number}-{attempt}"


def attempt_folders(sweep: Path) -> list[tuple[int, Path]]:
    """Number of the job and folder of every attempt in a sweep, in the order of the names."""
    found = sorted((sweep / ATTEMPTS).glob("[0-9]*-*"))
    return [(int(path.name.partition("-")[0]), path) for path in found]


def sweep_of(job: Path) -> Path | None:
    """Folder of the sweep that a job belongs to; None for a single run."""
    return job.parents[1] if job.parent.name == JOBS else None


def root_of(job: Path) -> Path:
    """The root above a job folder.

    Raises:
        UserError: It is neither ``ROOT/sweeps/NAME/jobs/NUMBER`` nor ``ROOT/runs/KEY``.
    """
    parents = job.resolve().parents
    if len(parents) > 1 and parents[0].name == RUNS:
        return parents[1]
    if len(parents) > 3 and (parents[2].name, parents[0].name) == (SWEEPS, JOBS):
        return parents[3]
    raise UserError(f"{job} {NO_JOB}")


def locate(root: Path, name: str) -> tuple[Path, str]:
    """Root and name of a sweep or single run.

    Args:
        root: The folder of all output, where ``name`` is a name.
        name: A name, or the path of the folder or of anything in it.

    Raises:
        UserError: It is the path of something else.
    """
    path = Path(os.path.abspath(name))
    there = (path for kind in (SWEEPS, RUNS) for path in (root / kind).glob("*"))
    known = any(path.name == name and path.is_dir() for path in there)  # never "..", nor ""
    if "/" not in name and (known or not path.is_dir()):
        return root, name
    for folder in (path, *path.parents):
        if folder.is_dir() and (
            folder.parent.name == SWEEPS
            or (folder.parent.name == RUNS and (folder / JOB).is_file())
        ):
            return folder.parents[1], folder.name
    raise UserError(
        f"{name}: neither a sweep nor a single run; those are ROOT/{SWEEPS}/NAME and "
        f"ROOT/{RUNS}/KEY, and `{command('list', path if path.is_dir() else root)}` shows them"
    )


def find_job(root: Path, name: str) -> Path:
    """Folder of a job by its path, or by what stands in it below ``root/runs`` or ``root/sweeps``.

    What is none is returned as the path that it is.
    """
    places = (Path(name), root / RUNS / name, root / SWEEPS / name)
    return next((place for place in places if (place / JOB).is_file()), Path(name))


def command(verb: str, root: Path, *words: str) -> str:
    """A command line about a root, to be pasted into a shell."""
    given = root.absolute() != DEFAULT_ROOT.absolute()
    options = ["--root", str(root)] if given else []
    return shlex.join(["headsweep", verb, *words, *options])


def seed_folder(job: Path, seed: int) -> Path:
    """Folder of a member in a job folder."""
    return job / f"seed_{seed}"


def seed_of(folder: Path) -> int:
    """Seed of the member in a seed folder."""
    return int(folder.name.removeprefix("seed_"))


def seed_folders(job: Path) -> dict[int, Path]:
    """Folders of all members of a job, by seed in rising order."""
    found = ((_SEED.fullmatch(path.name), path) for path in job.glob("seed_*"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))
