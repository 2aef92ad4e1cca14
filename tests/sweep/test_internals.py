"""Private parts of other packages: an upgrade that changes one shall fail here, by name."""

import inspect
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import is_dataclass
from itertools import product
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from hydra_plugins.hydra_optuna_sweeper import _impl
from hydra_plugins.hydra_optuna_sweeper.config import OptunaSweeperConf
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from headsweep.sweep.compose import open_loader
from headsweep.sweep.internals import (
    FileConfigSource,
    JobsLoader,
    argument_parser,
    grid,
    search_space,
)


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_signatures_are_those_that_we_call() -> None:
    assert parameters(get_args_parser) == []
    assert parameters(BasicSweeper.split_arguments) == ["overrides", "max_batch_size"]
    assert parameters(ConfigLoaderImpl._apply_overrides_to_config) == ["overrides", "cfg"]
    assert parameters(Callbacks.__init__) == ["self", "config"]
    assert parameters(_impl.create_params_from_overrides) == ["arguments"]


def test_hydras_source_of_files_has_what_ours_builds_upon(tmp_path: Path) -> None:
    assert parameters(FileConfigSource.__init__) == ["self", "provider", "path"]
    assert parameters(FileConfigSource.list) == ["self", "config_path", "results_filter"]
    for name in ("is_group", "is_config", "load_config"):
        assert parameters(getattr(FileConfigSource, name)) == ["self", "config_path"], name
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "name.yaml").write_text("# @package _global_\nkey: 1\n")
    source = FileConfigSource("mine", str(tmp_path))
    assert (source.scheme(), source.provider, source.path) == ("file", "mine", str(tmp_path))
    assert source.is_group("group")
    assert not source.is_config("group")
    assert source.is_config("group/name")
    assert source.list("", ObjectType.GROUP) == ["group"]
    assert source.list("group", ObjectType.CONFIG) == ["name"]
    found = source.load_config("group/name")
    assert (found.config, found.header) == ({"key": 1}, {"package": "_global_"})


def test_files_that_are_kept_are_copied_and_another_search_path_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    load = FileConfigSource.load_config

    def counted(source: FileConfigSource, config_path: str) -> ConfigResult:
        read.append(config_path)
        return load(source, config_path)

    monkeypatch.setattr(FileConfigSource, "load_config", counted)
    with open_loader(None) as kept:
        loader = JobsLoader(kept)
        loader.load_configuration("config", [], RunMode.RUN)
        once = sorted(read)
        for dropout in (0.2, 0.3):
            words = [f"head.dropout={dropout}"]
            cfg = loader.load_configuration("config", words, RunMode.RUN)
            assert cfg.head.dropout == dropout
        assert loader.load_configuration("config", [], RunMode.RUN).head.dropout == 0.1
        assert sorted(read) == once == sorted({*once})
        (tmp_path / "head").mkdir()
        (tmp_path / "head/own.yaml").write_text("defaults: [schema_mlp]\ndropout: 0.4\n")
        words = [f"hydra.searchpath=[file://{tmp_path}]", "head=own"]
        assert loader.load_configuration("config", words, RunMode.RUN).head.dropout == 0.4
        with pytest.raises(ConfigCompositionException):
            loader.load_configuration("config", ["head=own"], RunMode.RUN)


def test_shipped_files_are_read_once_and_the_users_for_each_command(tmp_path: Path) -> None:
    (tmp_path / "head").mkdir()
    for dropout in (0.3, 0.4):
        file = tmp_path / "head/own.yaml"
        file.write_text(f"defaults: [schema_mlp]\ndropout: {dropout}\n")
        with open_loader(str(tmp_path)) as loader:
            own = loader.load_configuration("config", ["head=own"], RunMode.RUN)
            assert own.head.dropout == dropout
    found = []
    for _ in range(2):
        with open_loader(None) as loader:
            found.append(loader)
            with pytest.raises(ConfigCompositionException):
                loader.load_configuration("config", ["head=own"], RunMode.RUN)
    assert found[0] is found[1]


SWEPT = [
    ["sweeps=claims", "arm=direct_head"],
    ["sweeps=claims", "arm=no_dropout", "head.dropout=0.3"],
    ["sweeps=claims", "arm=direct_head"],  # the same files once more: nothing is left of the others
    ["data=acts", "head=simpler", "+mine.key=1"],
    ["sweeps=search", "hydra/sweeper=optuna", "target=log_pt"],  # another beginning
    ["sweeps=search", "hydra/sweeper/pruner=asha", "hydra.sweeper.lag=2"],
    ["arm=baseline", "rates=tuned", "backbone=truth"],
]


def test_what_jobs_begin_with_is_merged_once_and_all_is_as_hydra_merges_it() -> None:
    def loaded(loader: ConfigLoaderImpl, words: list[str]) -> DictConfig:
        return loader.load_configuration("config", words, RunMode.MULTIRUN)

    with open_loader(None) as ours:
        assert isinstance(ours, JobsLoader)
        found = [loaded(ours, words) for words in SWEPT]
        for words, config in zip(SWEPT, found, strict=True):
            alone = loaded(ConfigLoaderImpl(ours.get_search_path()), words)
            assert OmegaConf.structural_equality(config, alone), words
            for node in ("", "hydra", "hydra.sweeper", "head", "data.source", "optim", "rates"):
                kinds = [OmegaConf.get_type(OmegaConf.select(c, node)) for c in (config, alone)]
                assert kinds[0] is kinds[1], (words, node)


def parse(overrides: Sequence[str]) -> list[Any]:
    return OverridesParser.create().parse_overrides(list(overrides))


def test_a_grid_has_hydras_order() -> None:
    jobs = grid(parse(["a=1,2", "b=x", "c=range(3)", "+d=q,r"]))
    assert jobs[:3] == [
        ["a=1", "b=x", "c=0", "+d=q"],
        ["a=1", "b=x", "c=0", "+d=r"],
        ["a=1", "b=x", "c=1", "+d=q"],
    ]
    assert len(jobs) == 12
    assert grid(parse(["a=1"])) == [["a=1"]]
    assert grid([]) == [[]]


@given(st.lists(st.lists(st.integers(-9, 9), min_size=1, max_size=4), max_size=4))
def test_a_grid_is_the_product_with_the_last_key_fastest(values: list[list[int]]) -> None:
    overrides = [f"k{i}={','.join(map(str, column))}" for i, column in enumerate(values)]
    expected = [[f"k{i}={value}" for i, value in enumerate(job)] for job in product(*values)]
    assert grid(parse(overrides)) == expected


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("interval(0,1)", FloatDistribution(0.0, 1.0)),
        ("interval(0.0,0.4)", FloatDistribution(0.0, 0.4)),
        ("interval(1,4.5)", FloatDistribution(1.0, 4.5)),
        ("int(interval(8,64))", IntDistribution(8, 64)),
        ("tag(log,int(interval(32,512)))", IntDistribution(32, 512, log=True)),
        ("tag(log,interval(0.001,0.1))", FloatDistribution(0.001, 0.1, log=True)),
        ("range(1,6)", IntDistribution(1, 5)),
        ("range(2,9,3)", IntDistribution(2, 8, step=3)),
        ("range(0.0,1.0,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("a,b", CategoricalDistribution(["a", "b"])),
        ("choice(a,3,0.5)", CategoricalDistribution(["a", 3, 0.5])),
        ("true,false", CategoricalDistribution([True, False])),
        ("null,5", CategoricalDistribution(["null", 5])),
        ("[avg],[avg,max]", CategoricalDistribution(["[avg]", "[avg,max]"])),
    ],
)
def test_ranges_become_distributions(text: str, distribution: BaseDistribution) -> None:
    assert search_space([f"key={text}"]) == ({"key": distribution}, [])


def test_what_is_not_a_range_is_shared() -> None:
    space, fixed = search_space(
        ["a=interval(0.0,1.0)", "b=5", "~c", "a=interval(0.0,2.0)", "+d='x y'", "e=range(3)", "e=1"]
    )
    assert space == {"a": FloatDistribution(0.0, 2.0)}
    assert fixed == ["b=5", "+d='x y'", "e=1", "~c"]
    assert search_space([]) == ({}, [])


def test_hydras_parser_takes_what_we_offer() -> None:
    parser = argument_parser()
    assert isinstance(parser, ArgumentParser)
    found = parser.parse_intermixed_args(
        ["-m", "a=1", "--config-dir", "mine", "b=2,3", "hydra/sweeper/pruner=none"]
    )
    assert found.overrides == ["a=1", "b=2,3", "hydra/sweeper/pruner=none"]
    assert (found.multirun, found.config_dir) == (True, "mine")
    unused = ("help", "hydra_help", "cfg", "info", "shell_completion", "config_path")
    for name in (*unused, "config_name", "experimental_rerun"):
        assert not getattr(found, name)
    assert parser.parse_intermixed_args(["--cfg", "job"]).cfg == "job"
    assert parser.parse_intermixed_args(["--help"]).help
    assert parser.parse_intermixed_args(["--info"]).info == "all"


def test_the_official_sweeper_has_the_keys_that_we_refuse_or_take_over() -> None:
    assert is_dataclass(OptunaSweeperConf)
    assert set(inspect.signature(OptunaSweeperConf).parameters) == {
        *("_target_", "defaults", "sampler", "direction", "storage", "study_name"),
        *("n_trials", "n_jobs", "max_failure_rate", "custom_search_space", "params"),
    }
    defaults = OptunaSweeperConf()
    assert (defaults.n_jobs, defaults.max_failure_rate, defaults.study_name) == (2, 0.0, None)


@pytest.mark.parametrize("storage", [InMemoryStorage, JournalStorage, RDBStorage])
def test_optunas_storages_have_the_methods_that_a_study_calls(storage: type[BaseStorage]) -> None:
    for name, arguments in (
        ("get_study_id_from_name", ["study_name"]),
        ("get_all_trials", ["study_id", "deepcopy", "states"]),
        ("create_new_trial", ["study_id", "template_trial"]),
        ("get_trial_id_from_study_id_trial_number", ["study_id", "trial_number"]),
        ("set_trial_state_values", ["trial_id", "state", "values"]),
        ("set_trial_intermediate_value", ["trial_id", "step", "intermediate_value"]),
        ("set_trial_system_attr", ["trial_id", "key", "value"]),
        ("set_trial_user_attr", ["trial_id", "key", "value"]),
    ):
        assert parameters(getattr(storage, name)) == ["self", *arguments], name


def test_optunas_trials_have_the_fields_that_are_compared() -> None:
    trial = create_trial(
        state=TrialState.RUNNING, params={"x": 1}, distributions={"x": IntDistribution(0, 1)}
    )
    assert isinstance(trial, FrozenTrial)
    assert (trial.params, trial.values, trial.intermediate_values) == ({"x": 1}, None, {})
    assert (trial.system_attrs, trial.user_attrs) == ({}, {})
    assert {state.name for state in TrialState} == {
        *("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING")
    }


def test_a_running_trial_can_be_made_to_wait_and_run_again_in_place() -> None:
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage)
    number = study.ask({"x": IntDistribution(0, 9)}).number
    (before,) = storage.get_all_trials(0)
    for state in (TrialState.WAITING, TrialState.RUNNING):
        storage.set_trial_state_values(before._trial_id, state)
        (after,) = storage.get_all_trials(0)
        assert (after.number, after.state, after.params) == (number, state, before.params)


def test_the_journals_backend_is_what_ours_stands_for() -> None:
    assert BaseJournalBackend.__abstractmethods__ == {"read_logs", "append_logs"}
    assert parameters(JournalFileBackend) == ["file_path", "lock_obj"]
    lock = JournalFileSymlinkLock("journal.log")
    assert lock._lock_file == "journal.log.lock"  # what ``Storage.repair`` looks for
    assert lock.grace_period == 30


def test_the_lock_may_be_asked_often() -> None:
    assert FileLock("unused.lock", poll_interval=0.002).poll_interval == 0.002
