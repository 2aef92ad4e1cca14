"""Arms in the files of sweeps, offered to Hydra as the group ``arm``."""

from collections.abc import Callable
from pathlib import Path

import pytest

from headsweep.config import config_root
from headsweep.errors import UserError
from headsweep.store.runs import read_config, read_job
from headsweep.sweep.plan import Plan, make_plan

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str, str]]

MINE = """
# @package _global_
seeds: 2
arms:
  baseline:
  wide: {head.regression_hidden_dim: 200, pooling.statistics: [avg, max]}
  mild: {head.dropout: 0.05}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's own folder of configuration with a sweep that defines two arms."""
    (tmp_path / "conf" / "sweeps").mkdir(parents=True)
    (tmp_path / "conf" / "sweeps" / "mine.yaml").write_text(MINE.lstrip())
    return tmp_path / "conf"


def plan(own: Path, *overrides: str, multirun: bool = True) -> Plan:
    return make_plan(overrides, multirun, str(own))


def test_a_sweep_runs_over_its_arms_in_their_order(own: Path) -> None:
    jobs = plan(own, "sweeps=mine").jobs
    assert [job.labels["arm"] for job in jobs] == ["baseline", "wide", "mild"]
    assert jobs[1].config.head.regression_hidden_dim == 200
    assert jobs[1].config.pooling.statistics == ["avg", "max"]
    assert [job.config.head.dropout for job in jobs] == [0.1, 0.1, 0.05]
    assert all(job.seeds == range(2) for job in jobs)


def test_the_command_line_chooses_among_the_arms_and_wins_over_them(own: Path) -> None:
    jobs = plan(own, "sweeps=mine", "arm=mild,no_dropout", "head.dropout=0.3").jobs
    assert [job.labels["arm"] for job in jobs] == ["mild", "no_dropout"]
    assert [job.config.head.dropout for job in jobs] == [0.3, 0.3]


def test_an_arm_of_a_sweep_is_an_arm_everywhere(own: Path) -> None:
    [job] = plan(own, "arm=wide", multirun=False).jobs
    assert (job.labels["arm"], job.config.head.regression_hidden_dim) == ("wide", 200)
    [job] = make_plan(["arm=no_layernorm"], multirun=False).jobs
    assert job.config.head.layer_norm is False


def test_a_pattern_takes_the_arms_of_all_sweeps_the_baseline_first(own: Path) -> None:
    found = plan(
        own, "arm=glob([b*,m*,t*,w*],exclude=[threshold_*])", "sweeps=smoke", "head=simpler"
    ).jobs
    names = [job.labels["arm"] for job in found]
    assert {"wide", "mild", "max_only"} <= {*names}
    assert "threshold_0.3" not in names
    assert names == ["baseline", *sorted({*names} - {"baseline"})]


def test_two_files_may_not_define_one_arm_differently(own: Path) -> None:
    (own / "sweeps" / "again.yaml").write_text(MINE.replace("0.05", "0.06").lstrip())
    with pytest.raises(UserError, match=r"arm=mild: .*again\.yaml and .*mine\.yaml"):
        plan(own, "arm=mild", multirun=False)
    assert len(plan(own, "arm=wide", multirun=False).jobs) == 1  # the same in both


def test_a_file_that_changes_is_read_again(own: Path) -> None:
    assert plan(own, "arm=mild", multirun=False).jobs[0].config.head.dropout == 0.05
    (own / "sweeps" / "mine.yaml").write_text(MINE.replace("0.05", "0.06").lstrip())
    assert plan(own, "arm=mild", multirun=False).jobs[0].config.head.dropout == 0.06


def test_an_arm_has_keys_or_a_file_but_not_both(own: Path) -> None:
    (own / "sweeps" / "odd.yaml").write_text(
        "# @package _global_\narms: {baseline: {head.dropout: 0.3}, mild: }\n"
    )
    with pytest.raises(UserError, match=r"sweeps=odd: arms\.baseline .*conf/arm/baseline\.yaml"):
        plan(own, "sweeps=odd")
    (own / "arm").mkdir()
    (own / "arm" / "mild.yaml").write_text("# @package _global_\nhead: {dropout: 0.3}\n")
    with pytest.raises(UserError, match=r"sweeps=mine: arms\.mild .*arm/mild\.yaml"):
        plan(own, "sweeps=mine")


@pytest.mark.parametrize("arms", ["[a, b]", "a", "{a: 3}", "{a: [head.dropout]}", "null"])
def test_arms_that_are_no_mapping_are_refused_by_name(own: Path, arms: str) -> None:
    (own / "sweeps" / "odd.yaml").write_text(f"# @package _global_\narms: {arms}\n")
    with pytest.raises(UserError, match="sweeps/odd"):
        plan(own, "sweeps=odd")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("{pooling: quarter}", "pooling/quarter"),
        ("{optim: default}", r"arms\.odd: optim"),
        ("{head: {dropout: 0.1}}", r"arms\.odd: head"),
        ("{head.dropot: 0.1}", "dropot"),
        ("{head.dropout: much}", r"head\.dropout"),
    ],
)
def test_a_wrong_arm_is_refused_by_name(own: Path, keys: str, message: str) -> None:
    (own / "sweeps" / "odd.yaml").write_text(f"# @package _global_\narms:\n  odd: {keys}\n")
    with pytest.raises(UserError, match=message):
        plan(own, "sweeps=odd")


@pytest.mark.parametrize("name", ["no dropout", "a,b", "../x", "", "[x]", "${seed}"])
def test_an_arm_has_a_name_that_can_be_one(name: str, own: Path) -> None:
    text = f"# @package _global_\narms:\n  '{name}': {{head.dropout: 0.0}}\n  größe: \n"
    (own / "sweeps" / "odd.yaml").write_text(text)
    with pytest.raises(UserError, match=r"arm=.*: a name has letters|arm=: is empty"):
        plan(own, "sweeps=odd")
    assert len(plan(own, "sweeps=mine").jobs) == 3  # which another file does not touch


def test_letters_of_an_arm_may_be_of_any_language(own: Path) -> None:
    text = (
        "# @package _global_\narms:\n  größe: {head.dropout: 0.25}\n  日本: {head.dropout: 0.5}\n"
    )
    (own / "sweeps" / "odd.yaml").write_text(text)
    jobs = plan(own, "sweeps=odd").jobs
    assert [job.labels["arm"] for job in jobs] == ["größe", "日本"]
    assert [job.config.head.dropout for job in jobs] == [0.25, 0.5]


def test_an_arm_may_choose_the_file_of_a_group(own: Path) -> None:
    keys = "{head: dense, head.activation: silu, target: log_pt, pooling: half, loss: gaussian}"
    (own / "sweeps" / "group.yaml").write_text(f"# @package _global_\narms:\n  group: {keys}\n")
    [job] = plan(own, "sweeps=group").jobs
    assert job.labels["head"] == "dense"
    assert job.config.head.activation == "silu"
    assert (job.config.target.name, job.config.pooling.width) == ("log_pt", "half")
    assert (job.labels["loss"], job.config.loss.name) == ("gaussian", "gaussian")


def test_an_unknown_arm_is_refused_by_name(own: Path) -> None:
    with pytest.raises(UserError, match="arm/absent"):
        plan(own, "arm=absent", multirun=False)
    (own / "sweeps" / "odd.yaml").write_text("# @package _global_\narms: {absent: }\n")
    with pytest.raises(UserError, match="arm/absent"):
        plan(own, "sweeps=odd")


def test_a_broken_file_of_another_sweep_does_not_matter(own: Path) -> None:
    (own / "sweeps" / "broken.yaml").write_text("arms: [")
    assert len(plan(own, "sweeps=mine").jobs) == 3


def test_few_arms_have_files_and_none_has_a_rate() -> None:
    files = sorted((config_root() / "conf" / "arm").glob("*.yaml"))
    assert len(files) <= 8
    for file in (*files, *(config_root() / "conf" / "head").glob("*.yaml")):
        assert "lr:" not in file.read_text()


def test_workers_train_the_arms_of_a_users_own_sweep(own: Path, command: Command) -> None:
    small = ["data=tiny", "data.source.events=60", "backbone=truth", "tracking=false", "seeds=1"]
    steps = ["optim.steps=4", "optim.batch_size=16", "workers=1"]
    code, _, err = command("train", "--config-dir", str(own), "sweeps=mine", *small, *steps)
    assert code == 0, err
    jobs = sorted(Path("runs/sweeps/mine/jobs").iterdir())
    found = [(read_job(job) or {})["labels"]["arm"] for job in jobs]
    assert found == ["baseline", "wide", "mild"]
    config = read_config(jobs[1])
    assert config["head"]["regression_hidden_dim"] == 200
    assert "arms" not in config
