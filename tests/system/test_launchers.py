"""One contract for every place where workers run: what happens to them there changes nothing."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from helpers import documents
from helpers.command import run_here
from helpers.end_state import differences, tracked, tracked_differences
from helpers.launchers import (
    SEARCH,
    Backend,
    Running,
    job_of,
    kill_attendant,
    kill_worker,
    launched_with,
    started,
    terminate_attendant,
)
from helpers.ray_cluster import ray_cluster
from helpers.slurm import MISSING, Slurm, slurm
from helpers.waiting import EndedEarlyError, wait_for

pytestmark = pytest.mark.slow


ATTEMPTS = 3
"""A worker that starts late may find nothing left to train, and then nothing to disturb."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the search in this process, which nobody disturbs."""
    root = tmp_path_factory.mktemp("reference") / "runs"
    run_here(root.parent, "train", *SEARCH, f"root={root}")
    return root


def documented(launcher: str) -> list[str]:
    """What the command of the page gives to a launcher."""
    page = documents.pages()["docs/how-to/machines.md"]
    name = f"hydra/launcher={launcher}"
    [words] = [
        words
        for line in documents.commands(page)
        if name in (words := line.split()) and "--cfg" not in words
    ]
    return [word for word in words if word.startswith("hydra")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    """A Slurm with one node."""
    if MISSING:
        pytest.skip(f"Slurm is missing ({', '.join(MISSING)}): apt-get install slurmctld slurmd")
    with slurm() as found:
        yield found


@pytest.fixture(scope="module")
def submitit_slurm(cluster: Slurm) -> Backend:
    """Slurm: one job of the array starts late, after the other was requeued."""
    return Backend(
        (
            *documented("submitit_slurm"),
            "hydra.launcher.array_parallelism=1",
        ),
        (
            lambda running: cluster.ask("scontrol", "requeue", job_of(running)),
            lambda running: cluster.ask("scancel", job_of(running)),
            lambda running: cluster.vanish(launched_with(running)),
        ),
        cluster.environment,
    )


@pytest.fixture(scope="module")
def local() -> Backend:
    """Processes that the command starts itself."""
    return Backend((), (kill_worker,))


@pytest.fixture(scope="module")
def submitit_local() -> Backend:
    """Processes that submitit starts."""
    return Backend(
        documented("submitit_local"),
        (kill_worker, terminate_attendant, kill_attendant),
    )


@pytest.fixture(scope="module")
def ray() -> Iterator[Backend]:
    """A Ray of two nodes, of which one vanishes while a worker trains there."""
    with ray_cluster() as nodes:

        def vanish(running: Running) -> None:
            wait_for(lambda: running.trains_below(nodes.node), running.process)
            nodes.vanish()

        yield Backend(
            [word.replace("=auto", f"={nodes.address}") for word in documented("ray")],
            (vanish,),
            nodes.environment,
        )


@pytest.fixture(params=["local", "submitit_local", "submitit_slurm", "ray"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """A place where workers run."""
    found: Backend = request.getfixturevalue(request.param)
    return found


def test_workers_anywhere_end_as_local_ones(
    backend: Backend, reference: Path, tmp_path: Path
) -> None:
    for attempt in range(ATTEMPTS):
        root = tmp_path / str(attempt) / "runs"
        root.parent.mkdir()
        with (
            suppress(EndedEarlyError),
            started(root, backend.arguments, **backend.environment) as running,
        ):
            for disturb in backend.disturbances:
                disturb(running)
            running.process.wait(timeout=300)
            break
    else:
        pytest.fail("the search ended before its workers were disturbed, in every attempt")
    printed = root.with_suffix(".log").read_text()
    assert running.process.returncode == 0, printed
    assert "8 of 8 trials are done, 0 were there before" in printed
    assert re.search(r"^\d of 8 trials", printed, re.M), printed  # progress
    assert differences(reference / "sweeps/search", root / "sweeps/search") == []
    ours, theirs = (tracked(r / "mlflow.db", r / "mlartifacts") for r in (reference, root))
    assert tracked_differences(ours, theirs) == []
    assert {path: path.stat().st_mtime_ns for path in running.kept} == running.kept
    assert not (root / "orders").exists()
