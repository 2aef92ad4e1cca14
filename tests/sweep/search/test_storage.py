"""The journal: what a kill or a full disk leaves of it is put right, with a notice."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from headsweep.errors import UserError
from headsweep.store.paths import JOURNAL
from headsweep.sweep.search import storage as search_storage
from headsweep.sweep.search.storage import Storage

DISTRIBUTION = optuna.distributions.FloatDistribution(0.0, 1.0)


def new_trial(value: float) -> optuna.trial.FrozenTrial:
    return create_trial(value=value, params={"x": value}, distributions={"x": DISTRIBUTION})


def open_storage(folder: Path) -> tuple[Storage, int]:
    storage = Storage(folder, None, folder)
    return storage, storage.study


def values(folder: Path) -> list[float | None]:
    """What Optuna itself reads."""
    backend = JournalFileBackend(str(folder / JOURNAL))
    study = optuna.load_study(study_name=folder.name, storage=JournalStorage(backend))
    return [trial.value for trial in study.trials]


def notices(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if record.name == search_storage.log.name
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """With a journal of a study and five trials."""
    storage, study = open_storage(tmp_path)
    for number in range(5):
        storage.optuna.create_new_trial(study, new_trial(number / 8))
    yield tmp_path
    assert not list(tmp_path.glob("*.lock*"))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_is_torn_off_the_whole_lines_stay(folder: Path, data: st.DataObject) -> None:
    path = folder / JOURNAL
    whole = path.read_bytes()
    try:
        left = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:left])
        lines = whole[:left].count(b"\n")
        storage, study = open_storage(folder)
        assert len(storage.optuna.get_all_trials(study)) == max(lines - 1, 0)
        storage.optuna.create_new_trial(study, new_trial(0.875))
        assert values(folder) == [*(n / 8 for n in range(max(lines - 1, 0))), 0.875]
    finally:
        path.write_bytes(whole)


def test_optuna_would_not_read_on_behind_a_torn_line(folder: Path) -> None:
    path = folder / JOURNAL
    with path.open("a") as file:
        file.write('{"op_code": 4, "wor')
    for _ in range(2):
        JournalFileBackend(str(path)).append_logs([{"op_code": 0}])
    with pytest.raises(ValueError, match=r"Expecting|Invalid"):
        values(folder)


def test_a_torn_line_is_cut_off_with_a_notice(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / JOURNAL
    storage, study = open_storage(folder)
    before = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    with caplog.at_level(logging.WARNING):
        storage.repair()
    assert path.read_bytes() == before
    [notice] = notices(caplog)
    assert notice.startswith(f"{path}: 19 bytes ")
    storage.repair()
    assert len(notices(caplog)) == 1
    storage.optuna.create_new_trial(study, new_trial(1.0))  # by one that had it open
    assert values(folder) == [0.0, 0.125, 0.25, 0.375, 0.5, 1.0]


def test_one_that_has_the_journal_open_reads_on_past_a_repair(folder: Path) -> None:
    reader, study = open_storage(folder)
    assert len(reader.optuna.get_all_trials(study)) == 5
    with (folder / JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    assert len(reader.optuna.get_all_trials(study)) == 5
    writer, _ = open_storage(folder)
    writer.optuna.create_new_trial(study, new_trial(0.75))
    assert [t.value for t in reader.optuna.get_all_trials(study)][5:] == [0.75]


def test_the_lock_of_a_dead_owner_is_removed_at_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock = folder / f"{JOURNAL}.lock"
    os.symlink(folder / JOURNAL, lock)
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING):
        storage, study = open_storage(folder)
    storage.optuna.create_new_trial(study, new_trial(1.0))
    assert time.monotonic() - begun < 15  # Optuna itself waits for 30 s
    [notice] = notices(caplog)
    assert str(lock) in notice
    assert values(folder)[5:] == [1.0]


def test_the_lock_of_another_program_is_waited_for(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = folder / f"{JOURNAL}.lock"
    os.symlink(folder / JOURNAL, lock)
    monkeypatch.setattr(search_storage, "FOREIGN_SECONDS", 0.5)
    thread = threading.Timer(0.05, lock.unlink)
    thread.start()
    with caplog.at_level(logging.WARNING):
        Storage(folder, None, folder)
    thread.join()
    assert notices(caplog) == []


def end(storage: Storage, trial: int) -> None:
    with storage.together():
        for step in range(100):
            storage.optuna.set_trial_intermediate_value(trial, step, step / 100)
        storage.optuna.set_trial_state_values(trial, TrialState.COMPLETE, [0.99])


def test_the_end_of_a_trial_is_written_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, study = open_storage(folder)
    trial = storage.optuna.create_new_trial(study)
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    end(storage, trial)
    assert len(syncs) == 1
    found = storage.optuna.get_trial(trial)
    assert found.intermediate_values == {step: step / 100 for step in range(100)}
    assert (found.state, found.value) == (TrialState.COMPLETE, 0.99)
    assert values(folder)[5:] == [0.99]


def test_what_fails_half_way_writes_nothing(folder: Path) -> None:
    storage, study = open_storage(folder)
    trial = storage.optuna.create_new_trial(study)
    before = (folder / JOURNAL).read_bytes()

    def break_off() -> None:
        with storage.together():
            storage.optuna.set_trial_intermediate_value(trial, 1, 0.5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert (folder / JOURNAL).read_bytes() == before
    assert storage.optuna.get_trial(trial).intermediate_values == {}
    end(storage, trial)
    assert storage.optuna.get_trial(trial).intermediate_values[1] == 0.01


def test_a_full_disk_in_the_midst_of_a_trials_end_can_be_told_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, study = open_storage(folder)
    trial = storage.optuna.create_new_trial(study)

    def full(backend: JournalFileBackend, logs: list[dict[str, object]]) -> None:
        with open(backend._file_path, "a") as file:
            file.write("".join(json.dumps(record) + "\n" for record in logs)[:5000])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", full)
        with pytest.raises(OSError, match="No space"):
            end(storage, trial)
    storage.repair()
    assert storage.optuna.get_trial(trial).state == TrialState.RUNNING
    end(storage, trial)
    for seen in (storage, open_storage(folder)[0]):
        found = seen.optuna.get_trial(trial)
        assert (found.state, found.value) == (TrialState.COMPLETE, 0.99)
        assert len(found.intermediate_values) == 100


def test_nobody_reads_half_a_trial(folder: Path) -> None:
    """Without the lock, while another process writes the ends of trials."""
    storage, study = open_storage(folder)
    trials = [storage.optuna.create_new_trial(study) for _ in range(20)]
    reader, _ = open_storage(folder)
    thread = threading.Thread(target=lambda: [end(storage, trial) for trial in trials])
    thread.start()
    while thread.is_alive():
        for trial in reader.optuna.get_all_trials(study, deepcopy=False)[5:]:
            assert trial.value is None or len(trial.intermediate_values) == 100
    thread.join()
    assert values(folder)[5:] == [0.99] * 20


def test_a_database_is_opened_in_its_stead(tmp_path: Path) -> None:
    storage = Storage(tmp_path, f"sqlite:///{tmp_path / 'trials.db'}", tmp_path)
    assert isinstance(storage.optuna, optuna.storages.RDBStorage)
    storage.repair()
    with storage.together():
        pass
    assert not (tmp_path / JOURNAL).exists()
    storage.optuna.engine.dispose()


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/trials.db"])
def test_a_database_that_cannot_be_opened_is_an_error(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hydra\.sweeper\.storage: cannot be opened \(.+\)"):
        Storage(tmp_path, url, tmp_path)
