"""Keys of Hydra without effect: refused on the command line and in files, before any effect."""

from pathlib import Path

import pytest
from hydra.types import RunMode

from headsweep.errors import UserError
from headsweep.sweep import hydra_keys
from headsweep.sweep.compose import loaded_sweep
from headsweep.sweep.hydra_keys import LAUNCHERS, STANDARD, check_hydra, check_override
from headsweep.sweep.overrides import as_written
from helpers.command import SMALL, Command

pytestmark = pytest.mark.slow

REFUSED = {
    "hydra.job.chdir=true": "relative to the folder where the command is started",
    "hydra.sweep.dir=x": "root=FOLDER",
    "hydra.sweep.subdir=x": "root=FOLDER",
    "hydra.run.dir=x": "root=FOLDER",
    "hydra.output_subdir=x": "config.yaml",
    "hydra.job.name=x": "name=NAME",
    "hydra/job_logging=default": "stderr",
    "hydra.job_logging.root.level=DEBUG": "stderr",
    "hydra.verbose=true": "--debug",
    "+hydra.callbacks.x._target_=os.system": "nothing is called back",
    "+hydra.job.env_set.X=1": "NAME=VALUE headsweep train",
    "hydra.job.env_copy=[X]": "NAME=VALUE headsweep train",
    "hydra.searchpath=[x]": "--config-dir FOLDER",
    "hydra.mode=MULTIRUN": "use -m",
    "hydra.runtime.cwd=x": "describes Hydra itself",
    "~hydra.help": "describes Hydra itself",
}
"""Overrides, and what their error says to use instead."""


@pytest.mark.parametrize("line", REFUSED)
def test_an_override_without_effect_is_refused(line: str) -> None:
    with pytest.raises(UserError) as caught:
        check_override(line.lstrip("+~").partition("=")[0], line)
    assert str(caught.value).startswith(f"{line}: has no effect; ")
    assert REFUSED[line] in str(caught.value)


@pytest.mark.parametrize("name", ["joblib", "ray_aws", "other"])
def test_a_launcher_that_starts_no_workers_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="submitit_slurm, submitit_local and ray"):
        check_override("hydra/launcher", f"hydra/launcher={name}")


def test_launchers_stand_for_classes_that_are_there() -> None:
    for name, (target, _) in LAUNCHERS.items():
        check_override("hydra/launcher", f"hydra/launcher={name}")
        with loaded_sweep(["name=x", f"hydra/launcher={name}"], None) as sweep:
            assert sweep.master.hydra.launcher._target_ == target
            node = as_written(sweep.master.hydra)
        check_hydra(node, "MULTIRUN")
        if name != "basic":
            other = {**node, "sweeper": {"_target_": "x"}}
            with pytest.raises(UserError, match="hydra/sweeper=headsweep"):
                check_hydra(other, "MULTIRUN")


def test_a_launcher_that_is_not_installed_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hydra_keys, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'headsweep\[slurm\]'"):
        check_override("hydra/launcher", "hydra/launcher=submitit_slurm")


@pytest.mark.parametrize(
    "key",
    [
        "hydra.sweeper.lag",
        "hydra.launcher.timeout_min",
        "hydra/sweeper",
        "hydra/sweeper/pruner",
        "x",
    ],
)
def test_keys_of_the_sweeper_and_ours_pass(key: str) -> None:
    check_override(key, f"{key}=1")


@pytest.mark.parametrize(
    "words", [["train"], ["train", "--dry-run"], ["train", "-m"], ["data", "validate"]]
)
def test_the_folder_of_a_command_is_never_changed(
    words: list[str], command: Command, tmp_path: Path
) -> None:
    code, _, err = command(*words, *SMALL, "root=rel", "hydra.job.chdir=true")
    assert (code, "hydra.job.chdir=true: has no effect" in err) == (2, True), err
    assert not list(tmp_path.iterdir())


def test_our_configuration_has_the_standard_values() -> None:
    with loaded_sweep(["name=x"], None) as sweep:
        node = as_written(sweep.master.hydra)
    check_hydra(node, "RUN")
    check_hydra({**node, "mode": RunMode.MULTIRUN}, "MULTIRUN")
    with pytest.raises(UserError, match=r"hydra.mode=.*MULTIRUN in a file: .*use -m"):
        check_hydra({**node, "mode": RunMode.MULTIRUN}, "RUN")


IN_FILES = {
    "job.chdir": "{job: {chdir: true}}",
    "sweep": "{sweep: {dir: x}}",
    "verbose": "{verbose: true}",
    "job.env_set": "{job: {env_set: {X: '1'}}}",
    "callbacks": "{callbacks: {x: {_target_: os.system, command: touch pwned}}}",
    "job_logging": "{job_logging: {root: {level: DEBUG}}}",
    "output_subdir": "{output_subdir: .hydra}",
}


@pytest.mark.parametrize("key", IN_FILES)
def test_what_a_file_of_the_user_sets_is_refused_alike(
    key: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "conf/arm").mkdir(parents=True)
    text = f"# @package _global_\nhydra: {IN_FILES[key]}\n"
    (tmp_path / "conf/arm/mine.yaml").write_text(text)
    for words in (["arm=mine"], ["-m", "arm=baseline,mine", "--dry-run"]):
        code, _, err = command("train", "--config-dir", "conf", "root=out", *SMALL, *words)
        assert (code, f"hydra.{key}=" in err, STANDARD[key][1] in err) == (2, True, True), err
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]
