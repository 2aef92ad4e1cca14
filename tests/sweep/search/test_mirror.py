"""The storage follows the folders: whatever happens to either, no trial changes silently."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from sqlalchemy import text

from headsweep.errors import UserError
from headsweep.store.outcome import Outcome
from headsweep.store.runs import root_id
from headsweep.sweep.queue import NoTask
from headsweep.sweep.search.mirror import difference, restored, told
from headsweep.sweep.search.queue import log
from headsweep.sweep.search.storage import Storage
from helpers.killable import World, world
from helpers.toy_search import Worker, in_folders, make_search, run, stored, uninterrupted

pytestmark = pytest.mark.slow

SEARCH = make_search(n_trials=6)
EXPECTED = uninterrupted(2, TPESampler)[:6]


@lru_cache
def finished() -> dict[str, bytes]:
    """All files of the search, finished."""
    with world() as here:
        run(here, SEARCH)
        files = (path for path in here.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(here.folder)): path.read_bytes() for path in files}


@contextmanager
def after() -> Iterator[World]:
    """A world in which the search is finished."""
    with world() as here:
        for name, content in finished().items():
            path = here.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield here


def whole(here: World) -> None:
    assert stored(here.folder) == in_folders(here.folder) == EXPECTED


def outcomes(folder: Path) -> dict[int, Outcome]:
    found = {int(path.name): Outcome.read(path) for path in (folder / "jobs").iterdir()}
    return {number: outcome for number, outcome in sorted(found.items()) if outcome is not None}


def test_an_outcome_alone_is_all_that_the_storage_has() -> None:
    with after() as here:
        trials, found = Worker(here, SEARCH).queue.trials(), outcomes(here.folder)
        assert difference(trials, found) is None
        fields = ("state", "params", "distributions", "values", "intermediate_values")
        for trial in trials:
            own = told(found[trial.number])
            for field in (*fields, "user_attrs", "system_attrs"):
                assert getattr(own, field) == getattr(trial, field)


def damage(content: bytes, how: str, first: float, second: float) -> bytes:
    """A journal of which something in the middle is not as it was."""
    lines = content.splitlines(keepends=True)
    i, j = int(first * len(lines)), int(second * len(lines))
    match how:
        case "line lost":
            del lines[i]
        case "lines exchanged":
            lines[i], lines[j] = lines[j], lines[i]
        case "line garbled":
            lines[i] = lines[i][: len(lines[i]) // 2] + b"\x00\n"
        case "line twice":
            lines.insert(j, lines[i])
        case "empty":
            return b""
        case "byte flipped":
            at = int(first * len(content))
            return content[:at] + bytes([content[at] ^ (1 << int(second * 8))]) + content[at + 1 :]
    return b"".join(lines)


HOW = ("line lost", "lines exchanged", "line garbled", "line twice", "empty", "byte flipped")
SHARE = st.floats(0, 1, exclude_max=True)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(how=st.sampled_from(HOW), first=SHARE, second=SHARE)
def test_a_damaged_journal_is_written_anew_from_the_folders(
    how: str, first: float, second: float
) -> None:
    with after() as here:
        path = here.folder / "journal.log"
        path.write_bytes(damage(path.read_bytes(), how, first, second))
        assert Worker(here, SEARCH).take() is NoTask.DONE
        whole(here)


@pytest.mark.parametrize("gone", [(1,), (0, 5), (2, 3, 4), (0, 1, 2, 3, 4, 5)])
@pytest.mark.parametrize("journal", [True, False])
def test_a_deleted_trial_is_trained_again_as_it_was(
    gone: tuple[int, ...], journal: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with after() as here:
        before = outcomes(here.folder)
        for number in gone:
            shutil.rmtree(here.folder / f"jobs/{number}")
        if not journal:
            (here.folder / "journal.log").unlink()
        trained: list[int] = []
        worker = Worker(here, SEARCH)
        while worker.take() is not NoTask.DONE:
            assert worker.task is not None
            trained.append(worker.task.number)
            assert worker.finish()
        assert trained == list(gone)
        whole(here)
        assert outcomes(here.folder) == before
        if journal:
            (notice,) = (r.getMessage() for r in caplog.records if r.name == log.name)
            assert f"trial {gone[0]} has no outcome in its folder" in notice


def test_several_workers_train_what_is_gone_and_go_on() -> None:
    with after() as here:
        for number in (1, 3):
            shutil.rmtree(here.folder / f"jobs/{number}")
        longer = make_search()
        first, second = Worker(here, longer), Worker(here, longer)
        assert (first.begin().number, second.begin().number) == (1, 3)
        assert second.finish()
        assert second.take() is NoTask.WAIT  # trial 6 wants to know trials 0 to 3
        assert first.finish()
        first.work()
        assert stored(here.folder) == in_folders(here.folder) == uninterrupted(2, TPESampler)


def test_a_worker_goes_on_in_a_journal_that_another_one_has_written_anew() -> None:
    with world() as here:
        first = Worker(here, SEARCH)
        first.begin()
        assert first.finish()
        first.begin()
        path = here.folder / "journal.log"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for line in lines if b'"intermediate_value"' not in line))
        second = Worker(here, SEARCH)
        states = [trial.state for trial in second.queue.trials()]
        assert states[0].is_finished()
        assert states[1:] == [TrialState.RUNNING]
        assert first.finish()
        path.unlink()  # while both are open
        second.work()
        whole(here)
        assert first.take() is NoTask.DONE


def test_begun_trials_that_a_journal_has_wrongly_begin_again() -> None:
    with world() as here:
        worker = Worker(here, SEARCH)
        for _ in range(4):
            worker.begin()
            assert worker.finish()
        task = worker.begin()
        worker.queue.give_back(task)
        path = here.folder / "journal.log"
        assert task.trial is not None
        rate = repr(task.trial.params["optim.lr"]).encode()
        assert rate in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(rate, b"0.05"))
        run(here, SEARCH)
        whole(here)


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'trials.db'}"


@pytest.mark.parametrize(
    "change",
    [
        "update trial_values set value = value + 1",
        "delete from trial_intermediate_values",
        "update trials set state = 'FAIL' where number = 0",
        "update trial_params set param_value = 2 where param_name = 'head.regression_num_layers'",
        "delete from trial_user_attributes",
    ],
)
def test_a_database_that_differs_is_written_anew(change: str, database: str) -> None:
    with world() as here:
        search = replace(SEARCH, n_trials=3, storage=database)
        run(here, search)
        queue = Worker(here, search).queue
        before = [(t.params, t.values, t.user_attrs) for t in queue.trials()]
        with queue.storage.optuna.engine.begin() as connection:  # type: ignore[attr-defined]
            assert connection.execute(text(change)).rowcount
        queue.storage.optuna.engine.dispose()  # type: ignore[attr-defined]
        again = Worker(here, search).queue
        assert [(t.params, t.values, t.user_attrs) for t in again.trials()] == before
        assert difference(again.trials(), outcomes(here.folder)) is None
        again.storage.optuna.engine.dispose()  # type: ignore[attr-defined]


def test_a_copied_root_does_not_take_the_search_of_the_first(database: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "sweeps/s").mkdir(parents=True)
    identifier = root_id(first)
    storage = Storage(first / "sweeps/s", database, first)
    storage.optuna.engine.dispose()  # type: ignore[attr-defined]
    shutil.copytree(first, second)
    assert root_id(second) == identifier
    with pytest.raises(UserError, match=r"has this search for .*first, of which .*second is a cop"):
        Storage(second / "sweeps/s", database, second)
    shutil.rmtree(first)  # now it was moved
    storage = Storage(second / "sweeps/s", database, second)
    storage.optuna.engine.dispose()  # type: ignore[attr-defined]


def test_what_runs_stays_and_what_waited_at_the_end_is_dropped() -> None:
    running = optuna.trial.create_trial(state=TrialState.RUNNING)
    running.number = 1
    waiting = optuna.trial.create_trial(state=TrialState.WAITING)
    waiting.number = 2
    found = restored([running, waiting], {})
    assert [trial.state for trial in found] == [TrialState.WAITING, TrialState.RUNNING]
    assert restored([running, waiting], {}, again=[1]) == []


Change = Callable[[Outcome], Outcome]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda o: replace(o, values=[9.0]), "values"),
        (lambda o: replace(o, intermediate={}), "curve"),
        (lambda o: replace(o, state="failed", values=[]), "state"),
        (lambda o: replace(o, point="other"), "notes"),
        (lambda o: replace(o, params={}, distributions={}), "parameters"),
    ],
)
def test_the_difference_is_named(change: Change, what: str) -> None:
    with after() as here:
        trials, found = Worker(here, SEARCH).queue.trials(), outcomes(here.folder)
        number = next(n for n, o in found.items() if o.state == "complete")
        words = difference(trials, {**found, number: change(found[number])})
        assert words == f"trial {number} differs from its folder ({what})"
        assert difference(trials[:3], found) == "trial 3 is not in it"
        assert difference([*trials[:2], *trials[3:]], found) == "trial 2 is not in it"
