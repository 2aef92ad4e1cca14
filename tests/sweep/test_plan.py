"""A command line's jobs: Hydra's own grid, names, the user's own heads."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf, open_dict

from headsweep.config import TABLES, config_root
from headsweep.errors import UserError
from headsweep.identity import identity
from headsweep.sweep.compose import Job, loaded_sweep
from headsweep.sweep.equal_jobs import merge_equal
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.overrides import sweep_name
from headsweep.sweep.plan import Plan, distinct, make_plan
from helpers.own_head import write_head

pytestmark = pytest.mark.slow


def sweep(*overrides: str) -> Plan:
    return make_plan(overrides, multirun=True)


HYDRA = """
import json, sys
import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from headsweep.config import config_root, register

register()

@hydra.main(config_path=str(config_root() / "conf"), config_name="config")
def main(cfg):
    hydra = HydraConfig.get()
    print(json.dumps([hydra.job.num, list(hydra.overrides.task), OmegaConf.to_container(cfg)]))

main()
"""


def by_hydra(config: Any, job: Job) -> dict[str, Any]:
    """Hydra's configuration of a job, with the learning rate that the table gives it."""
    kept = {key: value for key, value in config.items() if key not in TABLES}
    if kept["optim"]["lr"] == "???":
        kept["optim"]["lr"] = job.config.optim.lr
    return kept


def test_the_grid_is_what_hydra_runs(tmp_path: Path) -> None:
    overrides = [
        "sweeps=smoke",
        "head.dropout=choice(0.3,0.1)",
        "target.relative=true,false",
        "head=simpler,conservative",
        "optim.steps=7",
        f"root={tmp_path}",
    ]
    script = tmp_path / "app.py"
    script.write_text(HYDRA)
    run = subprocess.run(
        [sys.executable, script, "-m", "name=smoke", "hydra/sweeper=basic", *overrides],
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = [json.loads(line) for line in run.stdout.splitlines()]
    ours = sweep(*overrides)
    assert [number for number, _, _ in theirs] == list(range(8))
    for (_, _, config), job in zip(theirs, ours.jobs, strict=True):
        assert by_hydra(config, job) == job.resolved
    runtime = ("sweeps=", "name=", "root=", "hydra/")
    for (_, task, _), job in zip(theirs, ours.jobs, strict=True):
        assert [o for o in task if not o.startswith(runtime)] == job.overrides


@pytest.mark.parametrize(
    "overrides",
    [
        ["head.dropout=0.3", "seeds=2", "name=s"],
        ["head.dropout=0.3", "head=simpler", "optim.lr=0.5"],
        ["arm=before", "pooling.width=full", "data=tiny", "data.source.events=70"],
        ["pooling.statistics=[avg,max]", "target.relative=true", "features=document"],
        ["head.regression_hidden_dim=null", "head.regression_num_layers=1"],
    ],
)
def test_jobs_of_a_sweep_are_composed_as_by_hydra(overrides: list[str]) -> None:
    overrides = ["sweeps=search", *overrides]
    with loaded_sweep(["name=s", "sweeps=search"], None) as found:
        for _ in range(2):  # the second from what the first has kept
            job = found.compose(overrides)
            theirs = found.loader.load_sweep_config(found.master, overrides)
            assert job.labels["head"] == theirs.hydra.runtime.choices.head
            with open_dict(theirs):
                del theirs["hydra"]
            assert job.resolved == by_hydra(OmegaConf.to_container(theirs, resolve=True), job)
        with pytest.raises(UserError, match="dropot"):
            found.compose([*overrides, "head.dropot=0.1"])
        with pytest.raises(UserError, match="lr"):
            found.compose([*overrides, "optim.lr=much"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("design.kind=star", "design.kind=star: must be one of control, path, factorial"),
        ("design.comparisons=0", "design.comparisons=0: must be at least 1"),
        ("design.metrics=[]", r"design.metrics=\[\]: must be one or more, each once"),
        ("design.metrics=[loss]", "loss is no metric; did you mean [a-z_]*loss"),
    ],
)
def test_a_wrong_design_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sweep("sweeps=smoke", override)


def test_a_design_is_part_of_a_sweep_and_of_no_run() -> None:
    one, other = (sweep("sweeps=smoke", f"design.comparisons={m}") for m in (1, 2))
    assert one.spec != other.spec
    assert identity(one.jobs[0].resolved) == identity(other.jobs[0].resolved)
    assert one.jobs[0].overrides == other.jobs[0].overrides
    assert sweep_name(["head=a,b", "design.comparisons=1"]) == sweep_name(["head=a,b"])
    assert sweep_name(["head=a,b", "worker.time_limit=9"]) == sweep_name(["head=a,b"])


def test_labels_and_what_differs() -> None:
    jobs = sweep("sweeps=before_after", "head=simpler", "optim.steps=5").jobs
    assert [job.labels["arm"] for job in jobs] == ["before", "baseline"]
    assert {job.labels["head"] for job in jobs} == {"simpler"}
    assert list(jobs[0].labels) == [
        *("data", "data/selection", "backbone", "features", "pooling"),
        *("head", "target", "loss", "optim", "arm"),
    ]
    assert distinct(jobs) == ["arm=before", "arm=baseline"]


def test_losses_can_be_swept_over_and_their_keys_too() -> None:
    jobs = sweep("loss=smooth_l1,gaussian", "loss.weights.pt=1,8").jobs
    assert distinct(jobs) == [
        f"loss={name} loss.weights.pt={weight}"
        for name in ("smooth_l1", "gaussian")
        for weight in (1, 8)
    ]
    assert [job.config.loss.name for job in jobs] == ["smooth_l1"] * 2 + ["gaussian"] * 2
    with pytest.raises(UserError, match=r"loss.charge=bce: not with target.name=q_over_pt"):
        sweep("target=plain,q_over_pt", "loss.charge=bce")


def test_selections_of_tracks_can_be_swept_over() -> None:
    jobs = sweep("data/selection=all_tracks,quality", "data=tiny").jobs
    assert [job.labels["data/selection"] for job in jobs] == ["all_tracks", "quality"]
    assert [job.config.data.selection.min_hits for job in jobs] == [0, 9]
    assert distinct(jobs) == ["data/selection=all_tracks", "data/selection=quality"]


def test_a_file_sets_what_its_jobs_share() -> None:
    plan = sweep("sweeps=smoke", "seeds=3", "root=out")
    assert [job.config.optim.steps for job in plan.jobs] == [100, 100]
    assert [job.config.data.source.events for job in plan.jobs] == [500, 500]
    assert [job.config.seeds for job in plan.jobs] == [3, 3]
    assert plan.folder == Path("out/sweeps/smoke")
    assert ["head=direct_projection" in batch for batch in plan.batches] == [False, True]


def spec_of(plan: Plan) -> dict[str, Any]:
    return merge_equal(plan, [find_inputs(job) for job in plan.jobs])[0].spec


def grid_spec(*overrides: str) -> dict[str, Any]:
    """Specification of a grid with its jobs."""
    return spec_of(sweep(*overrides))


def test_the_specification_leaves_out_how_and_where() -> None:
    grid = ["head.dropout=0.1,0.2", "seeds=2"]
    spec = grid_spec(*grid)
    assert spec["jobs"] == {
        "0 head.dropout=0.1": {"head.dropout": 0.1},
        "1 head.dropout=0.2": {"head.dropout": 0.2},
    }
    assert spec["config"]["head.regression_hidden_dim"] == 144
    assert "head.dropout" not in spec["config"]
    same = grid_spec(*grid, "workers=1", "root=x", "tracking=false", "worker.time_limit=5")
    assert same == spec
    assert grid_spec(*grid, "optim.lr=0.01") != spec
    assert {**grid_spec(*grid[:1], "seeds=5"), "seeds": 2} == spec


@pytest.mark.parametrize("trials", ["null", "5"])
def test_the_specification_has_what_a_file_sets_for_all_jobs(trials: str, tmp_path: Path) -> None:
    file = tmp_path / "sweeps" / "mine.yaml"
    file.parent.mkdir()
    specs = []
    for clip in (0.25, 0.5):
        file.write_text(
            "# @package _global_\n"
            f"hydra: {{sweeper: {{n_trials: {trials}, params: {{optim.clip: {clip}, seed: 3}}}}}}\n"
        )
        overrides = ["sweeps=mine", "head.dropout=0.1,0.2"]
        plan = make_plan(overrides, True, config_dir=str(tmp_path))
        specs.append(plan.spec if plan.search else spec_of(plan))
    assert specs[0] != specs[1]
    assert [spec["seed" if trials == "null" else "first_seed"] for spec in specs] == [3, 3]


def test_the_specification_numbers_the_jobs() -> None:
    assert grid_spec("head.dropout=0.2,0.1") != grid_spec("head.dropout=0.1,0.2")


@pytest.mark.parametrize("override", ["seed=0,1,2", "seed=range(3)", "seeds=1,2"])
def test_a_grid_over_seeds_is_refused(override: str) -> None:
    with pytest.raises(UserError, match="use seeds=N"):
        sweep(override)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["sweeps=preset_rates"], "preset_rates"),
        (["sweeps=preset_rates", "name=mine"], "mine"),
        (["name=mine", "head=a,b"], "mine"),
    ],
)
def test_names(overrides: list[str], name: str) -> None:
    assert sweep_name(overrides) == name


def test_an_ad_hoc_name_follows_what_is_set() -> None:
    name = sweep_name(["head=a,b", "optim.lr=0.1"])
    assert name.startswith("adhoc-")
    assert len(name) == len("adhoc-") + 8
    same = ["optim.lr=0.1", "workers=4", "root=x", "head=a,b", "seeds=9"]
    assert sweep_name(same) == name
    assert sweep_name(["head=a,b", "optim.lr=0.2"]) != name


@pytest.mark.parametrize("override", ["name=a,b", "root=a,b", "sweeps=presets,smoke", "name=../x"])
def test_names_that_cannot_be(override: str) -> None:
    with pytest.raises(UserError, match=override.partition("=")[0]):
        sweep(override)


def test_a_name_that_a_disk_may_take_for_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweeps/mine").mkdir(parents=True)
    grid = [f"root={tmp_path}", "data=tiny", "head.dropout=0.1,0.2"]
    with pytest.raises(UserError, match=r"differs from the sweep mine .* name=Mine-2"):
        make_plan(["name=Mine", *grid], multirun=True)
    assert make_plan(["name=mine", *grid], multirun=True).folder == tmp_path / "sweeps/mine"


def test_keys_of_sweeps_and_searches_are_refused_where_they_do_nothing() -> None:
    with pytest.raises(UserError, match=r"hydra.sweeper.n_trials=3: is for sweeps; add -m"):
        make_plan(["hydra.sweeper.n_trials=3"], multirun=False)
    for key in ("hydra.sweeper.lag=3", "hydra/sweeper/pruner=none"):
        with pytest.raises(UserError, match=f"{key}: is for searches; .*n_trials=N"):
            sweep("head.dropout=0.1,0.2", key)
    assert len(sweep("head.dropout=0.1,0.2", "hydra.sweeper.n_trials=null").jobs) == 2


@pytest.mark.parametrize("overrides", [["name=mine"], ["head=simpler", "name=mine", "seeds=2"]])
def test_a_single_configuration_has_no_name(overrides: list[str]) -> None:
    with pytest.raises(UserError, match=r"name=mine: names a sweep; .* with -m or sweeps="):
        make_plan(overrides, multirun=False)
    assert make_plan([*overrides[:-1], "name="], multirun=False).folder is None


def test_one_bad_job_of_a_grid_is_found() -> None:
    with pytest.raises(UserError, match=r"head.dropout=1.5: must be in \[0, 1\)"):
        sweep("head.dropout=0.1,0.2,1.5")


def test_only_the_jobs_of_a_grid_need_to_be_valid() -> None:
    plan = sweep("optim.schedule=constant,plateau", "optim.patience=3")
    assert [job.config.optim.patience for job in plan.jobs] == [3, 3]


ALLOW = "allow=[own_heads,nowhere]"


@pytest.fixture
def own_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return write_head(tmp_path)


def test_a_head_of_the_users_own(own_head: Path) -> None:
    plan = make_plan(["head=bottleneck", "head.rate=null", ALLOW], False, config_dir=str(own_head))
    head = plan.jobs[0].config.head
    assert head == {"_target_": "own_heads.Bottleneck", "width": 8, "rate": None}
    assert plan.jobs[0].labels["head"] == "bottleneck"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head.width=1.5", "head.width=1.5: must be int"),
        ("head.width=true", "head.width=True: must be int"),
        ("head.rate=fast", "head.rate='fast': must be float"),
        ("++head.depth=2", "head.depth: Bottleneck takes no such key, only width, rate, name"),
        ("~head.width", "head.width is missing: Bottleneck needs it"),
        ("head._target_=own_heads.Bottlenek", "cannot be imported"),
        ("head._target_=nowhere.Head", "cannot be imported"),
        ("~head._target_", "head: needs a _target_"),
    ],
)
def test_its_keys_are_checked(override: str, message: str, own_head: Path) -> None:
    with pytest.raises(UserError, match=message):
        make_plan(["head=bottleneck", override, ALLOW], False, config_dir=str(own_head))


def test_a_missing_config_dir_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        make_plan([], False, config_dir=str(tmp_path / "nowhere"))


def test_it_works_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(sweep("sweeps=presets").jobs) == 4
    assert config_root().is_absolute()


def test_a_cross_validated_grid_has_all_folds_of_its_split_seeds() -> None:
    acts = ["data=acts", "data.source.path=x", "data.repeats=2"]
    found = sweep("sweeps=presets", *acts, "head=conservative,simpler")
    blocks = {(j.config.data.split.fold, j.config.data.split.seed) for j in found.jobs}
    assert blocks == {(fold, seed) for fold in range(5) for seed in range(2)}
    assert len(found.jobs) == 2 * len(blocks)
    assert {job.labels["head"] for job in found.jobs[: len(blocks)]} == {"conservative"}
    assert {job.config.seeds for job in found.jobs} == {1}
    acts += ["data.split.folds=2", "data.repeats=1"]
    one = [*acts, "head=conservative,simpler"]
    assert {job.config.seeds for job in sweep("sweeps=presets", *one, "seeds=3").jobs} == {3}
    assert len(sweep("sweeps=presets", *acts, "data.split.fold=1").jobs) == 4
    assert len(sweep("sweeps=presets", *acts[:-2], "data.split.folds=null").jobs) == 4
    claims = sweep("sweeps=claims", *acts).jobs
    assert {job.config.design.split for job in claims} == {"dev"}
    given = sweep("sweeps=claims", *acts, "design.split=test").jobs
    assert {job.config.design.split for job in given} == {"test"}


def test_the_pattern_of_arms_has_the_baseline_as_control() -> None:
    jobs = sweep("sweeps=arm_rates").jobs
    assert jobs[0].labels["arm"] == "baseline"
    assert len(jobs) == 4 * len({job.labels["arm"] for job in jobs})
    assert {"threshold_0.3", "encoded_only"}.isdisjoint(job.labels["arm"] for job in jobs)
