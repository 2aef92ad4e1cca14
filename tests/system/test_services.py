"""Other programs beside a search: PostgreSQL, optuna-dashboard, and itself twice more."""

import json
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import optuna
import psycopg
import pytest
from mlflow import MlflowClient
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._storage import JournalOperation
from psycopg import sql

from helpers import killing
from helpers.command import Command, run_here
from helpers.end_state import hashes
from helpers.killing import kill
from helpers.serving import BIN, free_port, mlflow_server
from helpers.waiting import wait_for

pytestmark = pytest.mark.slow

PASSWORD = "not-for-any-file"
SEARCH = [
    *("data=tiny", "data.source.events=100", "backbone=truth", "sweeps=search", "workers=2"),
    *("optim.steps=120", "optim.batch_size=16", "seeds=2", "hydra.sweeper.n_trials=6"),
    *("hydra.sweeper.pruner.n_startup_trials=2", "hydra.sweeper.sampler.n_startup_trials=3"),
    "hydra.sweeper.pruner.warmup_share=0.08",
    *("hydra.sweeper.lag=2", "head.regression_hidden_dim=int(interval(8, 64))"),
]
SMALL = [
    *("data=tiny", "data.source.events=100", "backbone=truth", "sweeps=search", "workers=1"),
    *("optim.steps=2", "optim.batch_size=16", "seeds=1", "hydra.sweeper.n_trials=8"),
    "tracking=false",  # tests/store/tracking does the same to MLflow, in less time
]


def start(
    arguments: Sequence[str], cwd: Path, log: Path, **environment: str
) -> subprocess.Popen[bytes]:
    """A command in a process group of its own, all of whose output goes to a file."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [BIN / arguments[0], *arguments[1:]],
            cwd=cwd,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", **environment},
        )


def trials(storage: BaseStorage) -> list[list[Any]]:
    """What a study holds of each trial; the keys of attributes are text in a database's JSON."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name=None, storage=storage)
    plain = [
        (t.number, t.state.name, t.params, t.values, t.intermediate_values, t.user_attrs)
        for t in study.trials
    ]
    found: list[list[Any]] = json.loads(json.dumps(plain, sort_keys=True))
    return found


@contextmanager
def opened(url: str) -> Iterator[RDBStorage]:
    database = RDBStorage(url)
    try:
        yield database
    finally:
        database.remove_session()
        database.engine.dispose()


def journal(root: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(root / "sweeps/search/journal.log")))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a search that nobody touched, with its trials in the journal file."""
    root = tmp_path_factory.mktemp("journal") / "runs"
    run_here(root.parent, "train", *SEARCH)
    return root


@pytest.fixture(scope="module")
def postgres() -> Iterator[int]:
    """Port of a PostgreSQL server with the user ``headsweep``, who must give a password."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    onpath = shutil.which("initdb")
    programs = found[-1].parent if found else Path(onpath).parent if onpath else None
    if programs is None:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    # The server refuses to run as root, and its user may not read pytest's own folders.
    folder = Path(mkdtemp(prefix="headsweep-postgres-"))
    user: dict[str, Any] = {}
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    data, port = folder / "data", free_port()
    initdb = [
        "--auth=scram-sha-256",
        "--username=headsweep",
        "--no-sync",
        "--no-locale",
        "-E",
        "UTF8",
    ]
    subprocess.run(
        [programs / "initdb", "-D", data, f"--pwfile={folder}/password", *initdb],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        **user,
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(programs / "postgres", "-D", data, "-p", str(port), "-k", folder),
                *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
            **user,
        )
    try:
        wait_for(lambda: accepts(port), server)
        yield port
    finally:
        server.send_signal(signal.SIGINT)  # its fast shutdown
        server.wait(timeout=30)
        shutil.rmtree(folder)


def accepts(port: int) -> bool:
    """Whether the PostgreSQL server can be used."""
    try:
        connect(port, "postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def connect(port: int, database: str) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        dbname=database,
        autocommit=True,
        host="127.0.0.1",
        port=port,
        user="headsweep",
        password=PASSWORD,
    )


def new_database(port: int, name: str) -> str:
    """URL of an empty database."""
    with connect(port, "postgres") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"postgresql+psycopg://headsweep:{PASSWORD}@127.0.0.1:{port}/{name}"


def test_postgresql_holds_the_same_search_after_a_kill(
    postgres: int, searched: Path, tmp_path: Path
) -> None:
    url, root, log = new_database(postgres, "killed"), tmp_path / "runs", tmp_path / "log"
    storage = f"hydra.sweeper.storage={url}"
    command = start(["headsweep", "train", *SEARCH, storage], tmp_path, log)
    jobs = root / "sweeps/search/jobs"
    wait_for(lambda: len([*jobs.glob("*")]) >= 2 and killing.SEARCH.begun(root), command)
    kill(command)
    assert 2 <= len([*jobs.glob("*")]) < 6

    # What is kept of the command line goes on with the search, and the password is asked for.
    kept = shlex.split((root / "sweeps/search/command.txt").read_text())
    assert kept[:2] == ["headsweep", "train"]
    assert storage.replace(f":{PASSWORD}", "") in kept
    command = start(kept, tmp_path, log, PGPASSWORD=PASSWORD)
    assert command.wait(timeout=300) == 0, log.read_text()

    with opened(url) as database:
        assert trials(database) == trials(journal(searched))
    assert hashes(root / "sweeps/search") == hashes(searched / "sweeps/search")
    assert not (root / "sweeps/search/journal.log").exists()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []


def test_eight_workers_lose_nothing_on_postgresql_and_an_mlflow_server(
    postgres: int, tmp_path: Path
) -> None:
    words = [
        *(*SEARCH, "hydra.sweeper.n_trials=8", "seeds=1"),
        *("hydra.sweeper.lag=8", "optim.steps=24"),
    ]
    run_here(tmp_path, "train", *words, "tracking=false", f"root={tmp_path}/reference")
    study, server = new_database(postgres, "study"), new_database(postgres, "mlflow")
    port, log, root = free_port(), tmp_path / "log", tmp_path / "runs"
    address = f"http://127.0.0.1:{port}"
    with mlflow_server(tmp_path / "server", port, server):
        shared = [f"hydra.sweeper.storage={study}", f"tracking_uri={address}", "workers=8"]
        assert start(["headsweep", "train", *words, *shared], tmp_path, log).wait(500) == 0, (
            log.read_text()
        )
        runs = recorded(address)
    with opened(study) as database:
        assert trials(database) == trials(journal(tmp_path / "reference"))
    found, wanted = (
        {name: value for name, value in hashes(sweep).items() if not name.endswith("config.yaml")}
        for sweep in (root / "sweeps/search", tmp_path / "reference/sweeps/search")
    )  # which has the address of the server
    assert found == wanted
    for number in range(8):
        outcome = json.loads((root / f"sweeps/search/jobs/{number}/outcome.json").read_text())
        [values] = [found for path, found in runs if path.endswith(f"jobs/{number}")]
        if outcome["state"] == "complete":
            assert values["val_qoverpt_r68"] == outcome["values"][0]


def recorded(address: str) -> list[tuple[str, dict[str, float]]]:
    """Folder and metrics of every run of an MLflow server."""
    client = MlflowClient(address)
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    return [(run.data.tags.get("headsweep.path", ""), run.data.metrics) for run in runs]


def test_a_database_that_cannot_be_used_is_an_error(postgres: int, command: Command) -> None:
    url = f"postgresql+psycopg://headsweep:wrong@127.0.0.1:{postgres}/postgres"
    code, out, err = command("train", *SMALL, f"hydra.sweeper.storage={url}")
    last = err.splitlines()[-1]
    assert code == 2
    assert last.startswith("error: hydra.sweeper.storage: ")
    assert 'password authentication failed for user "headsweep"' in last
    assert "wrong" not in out + err


def test_a_new_database_can_be_opened_by_four_at_once(postgres: int, tmp_path: Path) -> None:
    url = new_database(postgres, "cold")
    code = "import sys, pathlib; from headsweep.sweep.search.storage import Storage as S;"
    code += "sys.stdin.read(1);"
    code += (
        "root = pathlib.Path(sys.argv[1]); root.mkdir(); S(root / 'sweeps/s', sys.argv[2], root)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / f"root-{i}", url],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for i in range(4)
    ]
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, "\n".join(errors)
    with opened(url) as database:
        assert len(database.get_all_studies()) == 4


def test_optuna_dashboard_shows_a_search(searched: Path, tmp_path: Path) -> None:
    file, port = searched / "sweeps/search/journal.log", free_port()
    before, log = file.read_bytes(), tmp_path / "log"
    arguments = ["optuna-dashboard", str(file), "--host", "127.0.0.1", "--port", str(port)]
    server = start(arguments, tmp_path, log, HOME=str(tmp_path))
    try:
        wait_for(lambda: ask(port, "/api/studies") is not None, server)
        (study,) = ask(port, "/api/studies")["study_summaries"]
        detail = ask(port, f"/api/studies/{study['study_id']}?after=0")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)
    assert ask(port, "/api/studies") is None
    assert (study["study_name"], study["directions"]) == ("search", ["minimize"])
    shown = [
        [
            trial["number"],
            trial["state"].upper(),
            {param["name"]: json.loads(param["param_external_value"]) for param in trial["params"]},
            trial["values"],
            {str(point["step"]): point["value"] for point in trial["intermediate_values"]},
            {attr["key"]: value_of(attr) for attr in trial["user_attrs"]},
        ]
        for trial in detail["trials"]
    ]
    assert shown == trials(journal(searched))
    assert file.read_bytes() == before


def value_of(attr: dict[str, str]) -> Any:
    """An attribute as it was set; the page shows text as it is, all else as JSON."""
    return (
        attr["value"] if attr["key"] in ("reason", "point", "origin") else json.loads(attr["value"])
    )


def ask(port: int, path: str) -> Any:
    """Answer of a server as JSON; None while it does not listen."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError:
        return None


def test_three_commands_begin_one_search_at_once(tmp_path: Path) -> None:
    logs = [tmp_path / f"log-{i}" for i in range(3)]
    commands = [start(["headsweep", "train", *SMALL], tmp_path, log) for log in logs]
    with ThreadPoolExecutor(3) as pool:
        codes = list(pool.map(lambda command: command.wait(timeout=300), commands))
    text = "\n".join(log.read_text() for log in logs)
    assert codes == [0] * 3, text
    sweep = tmp_path / "runs/sweeps/search"
    text += "\n".join(path.read_text() for path in (sweep / "logs").glob("*"))
    assert not [word for word in ("rror", "arning", "Traceback") if word in text], text
    found = trials(journal(tmp_path / "runs"))
    assert [trial[0] for trial in found] == list(range(8))
    assert {trial[1] for trial in found} <= {"COMPLETE", "PRUNED"}
    assert sorted(path.name for path in (sweep / "jobs").iterdir()) == list("01234567")
    assert [*(sweep / "leases").iterdir()] == [*(sweep / "attempts").iterdir()] == []
    records = map(json.loads, (sweep / "journal.log").read_text().splitlines())
    created = JournalOperation.CREATE_TRIAL
    assert sum(record["op_code"] == created for record in records) == 8
