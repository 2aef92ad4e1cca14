"""Files that a command line chooses: each has an effect, or an error names file, line and mend."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from headsweep.config import config_root
from headsweep.errors import UserError
from headsweep.sweep.compose import open_loader
from headsweep.sweep.config_files import HEADER, check_files
from headsweep.sweep.plan import Plan, make_plan
from helpers.command import Command

pytestmark = pytest.mark.slow

SMALL = ["data=tiny", "backbone=truth"]
SWEEP = "seeds: 2\nhydra: {sweeper: {params: {head: 'conservative,simpler'}}}\n"

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file into the user's own folder of configuration."""

    def write(name: str, content: str) -> Path:
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    return write


def plan(tmp_path: Path, *overrides: str) -> Plan:
    multirun = any(o.startswith("sweeps=") or "," in o for o in overrides)
    known = {o.partition("=")[0] for o in overrides}
    small = [o for o in SMALL if o.partition("=")[0] not in known]
    return make_plan([*small, *overrides], multirun, str(tmp_path / "conf"))


def test_a_sweep_without_its_first_line_names_it_and_with_it_trains_two_by_two(
    write: Write, tmp_path: Path
) -> None:
    path = write("sweeps/mine.yaml", SWEEP)
    with pytest.raises(UserError, match=f"{re.escape(str(path))}:1: add `{HEADER}`"):
        plan(tmp_path, "sweeps=mine")
    write("sweeps/mine.yaml", f"{HEADER}\n{SWEEP}")
    jobs = plan(tmp_path, "sweeps=mine").jobs
    assert [(job.labels["head"], len(job.seeds)) for job in jobs] == [
        ("conservative", 2),
        ("simpler", 2),
    ]


@pytest.mark.parametrize("arguments", [["sweeps=mine"], ["-m", "sweeps=mine"]])
def test_the_command_refuses_it_before_anything_is_written(
    arguments: list[str], write: Write, tmp_path: Path, command: Command
) -> None:
    write("sweeps/mine.yaml", SWEEP)
    folder = str(tmp_path / "conf")
    code, _, err = command("train", *arguments, *SMALL, "--config-dir", folder)
    assert code == 2
    assert "mine.yaml:1: add `# @package _global_` as the first line" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "content", "overrides", "said"),
    [
        ("arm/a.yaml", "head: {dropout: 0.3}\n", ["arm=a"], ":1: add `# @package _global_`"),
        ("arm/a.yaml", "", ["arm=a,baseline"], ":1: add `# @package _global_`"),
        ("arm/a.yaml", f"# words\n{HEADER}\nseed: 1\n", ["arm=a"], ":1: add `# @package"),
        ("arm/a.yaml", f"{HEADER}\n", ["arm=a"], ": sets nothing"),
        ("arm/a.yaml", f"{HEADER}\ndropout: 0.3\n", ["arm=a"], ":2: .* did you mean head.dropout"),
        ("arm/a.yaml", f"{HEADER}\nhead: {{droput: 1}}\n", ["arm=a"], ":2: head.droput: .*dropout"),
        ("arm/a.yaml", f"{HEADER}\nsweeps: b\n", ["arm=a"], ":2: sweeps: has no effect"),
        ("arm/a.yaml", f"{HEADER}\noptim: {{lr: '${{x}}'}}\n", ["arm=a"], ":2: optim.lr: Interp"),
        ("arm/a.yaml", f"{HEADER}\nseed: ???\n", ["arm=a"], "sets nothing"),
        ("arm/a.yaml", f"{HEADER}\ndefaults: [a]\n", ["arm=a"], "its own default"),
        ("head/a.yaml", "\n", ["head=a"], ": sets nothing"),
        ("head/a.yaml", "head: {dropout: 0.3}\n", ["head=a"], ":1: .*leave `head:` out"),
        ("head/a.yaml", "dropout: 0.3\n", ["head=a"], ": head: needs a _target_"),
        (
            "head/a.yaml",
            "defaults: [schema_mlp, _self_]\ndropout: 2\n",
            ["head=a"],
            ":2: head.drop",
        ),
        (
            "head/a.yaml",
            "defaults: [_self_, schema_mlp]\ndropout: 0.3\n",
            ["head=a"],
            ":2: head.dropout=0.3 has no effect, .*write `_self_` as the last",
        ),
        ("head/a.yaml", "defaults: schema_mlp\n", ["head=a"], "defaults must be a list"),
        ("head/a.yaml", "defaults: [nothere]\n", ["head=a"], "no file head/nothere.yaml"),
        ("head/conservative.yaml", "dropout: 0\n", [], "is never read, as .* rename it"),
        ("head/schema_mlp.yaml", "dropout: 0\n", [], "a name of headsweep's own"),
        ("config.yaml", "seed: 1\n", [], "is never read, as .* rename it"),
        ("head/a.yml", "dropout: 0\n", [], "name it a.yaml"),
        (
            "data/a.yaml",
            "defaults: [spectrometer, _self_]\noptim: {steps: 5}\n",
            ["data=a"],
            ":2: .*add `# @package _global_` .* below `data:`",
        ),
        (
            "data/a.yaml",
            f"{HEADER}\ndefaults: [{{source@data.source: schema_spectrometer}}, _self_]\n"
            "head: {dropout: 0.3}\n",
            ["data=a"],
            ":3: head.dropout=0.3 has no effect, .* set it in an arm",
        ),
        (
            "sweeps/s.yaml",
            f"{HEADER}\nhead: {{dropout: 0.2}}\narms:\n  b: {{head.dropout: 0.3}}\n",
            ["sweeps=s"],
            ":4: head.dropout=0.3 has no effect, .* take it out of one",
        ),
        ("rates/r.yaml", "table: {head: {simple: 0.1}}\n", ["rates=r"], "did you mean simpler"),
        ("rates/r.yaml", "table: {heads: {simpler: 0.1}}\n", ["rates=r"], "did you mean head"),
    ],
)
def test_a_file_without_effect_is_an_error(
    name: str, content: str, overrides: list[str], said: str, write: Write, tmp_path: Path
) -> None:
    path = write(name, content)
    with pytest.raises(UserError, match=said) as caught:
        plan(tmp_path, *overrides)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(write: Write, tmp_path: Path) -> None:
    path = write("arm/a.yaml", "")
    path.write_bytes(f"{HEADER}\nseed: 1  # \xe9\n".encode("latin-1"))
    with pytest.raises(UserError, match=f"{re.escape(str(path))}:2: not text in UTF-8"):
        plan(tmp_path, "arm=a")
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"arm=a: there is no file"):
        plan(tmp_path, "arm=a")


def test_a_file_that_the_user_names_for_a_key_does_not_lose_it_without_a_word(
    write: Write, tmp_path: Path
) -> None:
    write(
        "head/log.yaml",
        f"{HEADER}\ndefaults: [conservative@head, _self_]\ntarget: {{name: log_pt}}\n",
    )
    [job] = plan(tmp_path, "head=log").jobs
    assert job.config.target.name == "log_pt"
    with pytest.raises(UserError, match=r"target\.name=plain has no effect, as head/log .* log_pt"):
        plan(tmp_path, "head=log", "target=plain")
    [job] = plan(tmp_path, "head=log", "target=plain", "target.name=plain").jobs
    assert job.config.target.name == "plain"


def test_an_arm_may_have_the_name_of_its_sweep_and_choose_files_alone(
    write: Write, tmp_path: Path
) -> None:
    write("sweeps/own.yaml", f"{HEADER}\narms:\n  baseline:\n  own: {{head: simpler}}\n")
    jobs = plan(tmp_path, "sweeps=own").jobs
    assert [job.labels["head"] for job in jobs] == ["conservative", "simpler"]


def test_what_is_meant_to_win_does(write: Write, tmp_path: Path) -> None:
    source = "defaults: [{source@data.source: schema_spectrometer}, _self_]"
    write("data/mine.yaml", f"{HEADER}\n{source}\nhead: {{dropout: 0.3}}\noptim: {{steps: 7}}\n")
    write("head/own.yaml", "defaults: [conservative, _self_]\ndropout: 0.4\n")
    write("arm/deep.yaml", f"{HEADER}\nhead: {{regression_num_layers: 5}}\n")
    [job] = plan(tmp_path, "data=mine", "head=own", "arm=deep").jobs
    assert (job.config.head.dropout, job.config.head.regression_num_layers) == (0.4, 5)
    assert job.config.optim.steps == 7
    write("rates/r.yaml", "table: {head: {simpler: 0.7}}\n")
    [job] = plan(tmp_path, "rates=r", "head=simpler").jobs
    assert job.config.optim.lr == 0.7


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("head=", "choose a file, as in head=NAME"),
        ("arm=null", "arm=baseline changes nothing"),
        ("arm=inf", "quote a name that is a number, as in 'arm=\"3\"'"),
        ("arm=[baseline,before]", "several make a sweep: -m arm=A,B"),
    ],
)
def test_a_choice_is_a_name(override: str, said: str) -> None:
    for multirun in (False, True):
        with pytest.raises(UserError, match=re.escape(said)):
            make_plan([*SMALL, override], multirun)


def test_every_shipped_file_has_an_effect() -> None:
    conf, sweeps = config_root() / "conf", config_root() / "sweeps"
    files = [*conf.glob("*/*.yaml"), *conf.glob("data/selection/*.yaml"), *sweeps.glob("*.yaml")]
    with open_loader(None) as loader:
        for file in files:
            group = file.parent.relative_to(conf if conf in file.parents else config_root())
            check_files(loader, [f"{group}={file.stem}"])
