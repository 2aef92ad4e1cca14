"""What a confirmation trains, from the folders of a search that was never trained."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from headsweep.errors import UserError
from headsweep.store import runs, specification
from headsweep.store.outcome import Outcome
from headsweep.sweep.plan import Plan, make_plan
from headsweep.sweep.search.finalists import choose

pytestmark = pytest.mark.slow

FIXED = ["data=tiny", "backbone=truth", "optim.steps=60", "seeds=2"]
WIDTHS = {0: 64, 1: 96, 2: 96, 3: 128, 4: 200}
"""Width of each trial; trials 1 and 2 are the same configuration."""
VALUES = {0: 0.40, 1: 0.20, 2: 0.21, 3: 0.30, 4: 0.50}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of five trials, written once."""
    root = tmp_path_factory.mktemp("search") / "runs"
    write_search(root, 5)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A copy of the search, to be spoilt."""
    return Path(shutil.copytree(written, tmp_path / "runs"))


def write_search(root: Path, n_trials: int, values: dict[int, float] = VALUES) -> None:
    search = ["sweeps=search", *FIXED, f"hydra.sweeper.n_trials={n_trials}", f"root={root}"]
    plan = make_plan(search, multirun=True)
    folder = root / "sweeps" / "search"
    specification.claim_sweep(folder, plan.spec)
    runs.write_command(folder, "headsweep train sweeps=search")
    for number, value in values.items():
        width = f"head.regression_hidden_dim={WIDTHS.get(number, 100 + number)}"
        job = make_plan([*FIXED, width], multirun=False).jobs[0]
        about = {"job_key": f"key of {width}", "labels": job.labels, "overrides": job.overrides}
        runs.write_job(folder / "jobs" / str(number), job.resolved, about)
        key, params = width.split("=")
        seeds = {0: [value - 0.01], 1: [value + 0.01]}
        outcome = Outcome("complete", values=[value], seeds=seeds, params={key: int(params)})
        outcome.write(folder / "jobs" / str(number))


def confirm(root: Path, *overrides: str) -> Plan:
    return make_plan(["sweeps=confirm", f"root={root}", *overrides], multirun=True)


def test_presets_and_the_best_different_trials_on_what_the_search_had(root: Path) -> None:
    plan = confirm(root, "study=search", "top=3", "seeds=4")
    heads = [(job.labels["head"], job.config.head.regression_hidden_dim) for job in plan.jobs]
    presets = ["conservative", "more_capacity", "simpler", "direct_projection"]
    assert [head for head, _ in heads] == [*presets, *["conservative"] * 3]
    assert [width for _, width in heads[4:]] == [96, 128, 64]
    for job in plan.jobs:
        assert job.config.data.source.events == 500
        assert job.labels["backbone"] == "truth"
        assert (job.config.optim.steps, job.config.seed, job.config.seeds) == (60, 1000, 4)
    assert [job.config.optim.lr for job in plan.jobs[:4]] == [0.08, 0.04, 0.02, 0.04]
    assert plan.spec["confirm"] == {
        "study": "search",
        "metric": "val_qoverpt_r68",
        "jobs": {
            number: {"trial": trial, "seeds": {0: VALUES[trial] - 0.01, 1: VALUES[trial] + 0.01}}
            for number, trial in {4: 1, 5: 3, 6: 0}.items()
        },
    }
    assert plan.spec["design"]["split"] == "test"


def test_a_preset_keeps_its_own_rate_and_head(root: Path) -> None:
    folder = root / "sweeps" / "search" / "jobs" / "1"
    more = ["optim.lr=0.03", "head=simpler", "head.dropout=0.3", "target=log_pt"]
    job = make_plan([*FIXED, *more, "head.regression_hidden_dim=96"], multirun=False).jobs[0]
    about = {"job_key": "k", "labels": job.labels, "overrides": job.overrides}
    runs.write_job(folder, job.resolved, about)
    plan = confirm(root, "study=search", "top=1")
    assert [job.config.optim.lr for job in plan.jobs] == [0.08, 0.04, 0.02, 0.04, 0.03]
    assert [job.config.head.dropout for job in plan.jobs] == [0.1, 0.15, 0.05, 0.1, 0.3]
    assert {job.config.target.name for job in plan.jobs} == {"log_pt"}


def test_the_trials_are_frozen_when_it_begins(root: Path) -> None:
    plan = confirm(root, "study=search", "top=2")
    assert plan.folder is not None
    specification.claim_sweep(plan.folder, plan.spec)
    write_search(root, 6, {5: 0.45})  # more trials, none of the best
    specification.claim_sweep(plan.folder, confirm(root, "study=search", "top=2").spec)
    more = confirm(root, "study=search", "top=2", "seeds=12").spec
    assert specification.claim_sweep(plan.folder, more)["seeds"] == 12
    write_search(root, 7, {6: 0.10})
    with pytest.raises(UserError, match=r"(?s)another sweep.*confirm\.jobs\.4\.trial: 1 there, 6"):
        specification.claim_sweep(plan.folder, confirm(root, "study=search", "top=2").spec)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["study=absent"], r"study=absent: .*: search$"),
        (["study=presets"], "study=presets: "),
        (["study=../search"], r"study=\.\./search: "),
        (["study=search", "top=5"], "top=5: search has 4 .* top=4"),
        (["study=search", "top=0"], "top=0: .* 1"),
        (["study=search", "seed=1"], r"seed 1; .* seed=11"),
        (["study=search", "optim.steps=30"], r"trial 1 .* optim.steps=60 .* 30 "),
        (["study=search", "optim.clip=2"], r"trial 1 .* optim.clip=1.0 .* 2.0 "),
        (["study=a,b"], "study "),
        (["study=search", "design.split=val"], "design.split=val: .* test"),
    ],
)
def test_mistakes(root: Path, overrides: Sequence[str], message: str) -> None:
    specification.claim_sweep(root / "sweeps" / "presets", {"seeds": 2})
    with pytest.raises(UserError, match=message):
        confirm(root, *overrides)


def test_a_folder_never_has_the_environment_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gave the folder would find the variable in what the confirmation writes."""
    monkeypatch.setenv("PLACE", "hunter2")
    job = root / "sweeps/search/jobs/1"
    about, config = runs.read_job(job), runs.read_config(job)
    assert about is not None
    for override in ("tracking_uri=http://${oc.env:PLACE}", "optim.lr=${oc.env:PLACE}"):
        content = {k: v for k, v in about.items() if k != "schema"}
        runs.write_job(job, config, {**content, "overrides": [*about["overrides"], override]})
        with pytest.raises(
            UserError, match=r"trial 1 of search: .*PLACE\} is not resolved"
        ) as error:
            confirm(root, "study=search", "top=1")
        assert "hunter2" not in str(error.value)
    plan = confirm(root, "study=search", "top=1", "optim.lr=0.08")  # as the search had it
    assert plan.jobs[-1].config.optim.lr == 0.08
    own = [*about["overrides"], "head.dropout=${pooling.raw}"]  # other keys are no secrets
    runs.write_job(job, config, {**content, "overrides": own})
    with pytest.raises(UserError, match=r"head\.dropout"):
        confirm(root, "study=search", "top=1")


def test_a_search_must_be_finished(root: Path) -> None:
    write_search(root, 8)
    message = r" 5 of 8 trials .* headsweep train sweeps=search"
    with pytest.raises(UserError, match=message):
        confirm(root, "study=search")


@pytest.mark.parametrize("words", [["study=search"], ["sweeps=search", "study=search"]])
def test_nothing_else_takes_a_study(root: Path, words: list[str]) -> None:
    with pytest.raises(UserError, match=r"study=search: .* sweeps=confirm"):
        make_plan([*words, f"root={root}"], multirun="sweeps=search" in words)


def test_a_confirmation_needs_a_search(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="study=search: there is no such sweep"):
        make_plan(["sweeps=confirm", f"root={tmp_path}"], multirun=True)
    assert make_plan(["sweeps=presets"], multirun=True).spec["design"]["split"] == "dev"


def test_other_data_than_the_search_had_are_refused(root: Path) -> None:
    found = choose(root, "search", 1)
    with pytest.raises(UserError, match=r"trial 1 of search .* data"):
        found.check_data(["a", "b"])
    other = replace(found.best[0], job_key="b")
    replace(found, best=[other]).check_data(["a", "b"])


def why(root: Path, *overrides: str) -> Plan:
    return make_plan(["sweeps=why", f"root={root}", "seeds=4", *overrides], multirun=True)


def test_a_path_changes_one_searched_key_at_a_time(root: Path) -> None:
    """Trial 1 is the best: its width of 96 is the only key that the search chose."""
    plan = why(root)
    widths = [job.config.head.regression_hidden_dim for job in plan.jobs]
    assert widths == [144, 96]
    assert plan.jobs[-1].resolved["head"] == runs.read_config(root / "sweeps/search/jobs/1")["head"]
    assert [job.config.optim.steps for job in plan.jobs] == [60, 60]
    assert plan.spec["why"] == {"study": "search", "trial": 1}
    assert plan.spec["design"]["kind"] == "path"
    assert "confirm" not in plan.spec


def test_what_the_file_of_a_search_fixes_holds_here_too(root: Path) -> None:
    """A key of its YAML file is in no override of a trial; one of the command line still wins."""
    for folder in (root / "sweeps/search/jobs").iterdir():
        about = runs.read_job(folder)
        assert about is not None
        about["overrides"] = [o for o in about["overrides"] if o != "optim.steps=60"]
        runs.write_job(folder, runs.read_config(folder), about)
    assert [job.config.optim.steps for job in why(root).jobs] == [60, 60]
    assert {job.config.optim.steps for job in confirm(root, "study=search").jobs} == {60}
    with pytest.raises(UserError, match=r"optim\.steps=60 there, 70 here"):
        why(root, "optim.steps=70")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("head=simpler,conservative", "give one head, such as head=conservative, and top=1"),
        ("top=2", "give one head, such as head=conservative, and top=1"),
        ("seed=1", "seed=1: the search search has used seed 1"),
        ("head=direct_projection", "trial 1 of search was trained with other settings"),
        ("study=none", "study=none: there is no such sweep"),
    ],
)
def test_what_is_no_path_is_refused(root: Path, override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        why(root, override)
