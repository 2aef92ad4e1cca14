"""Words of a command line: which make a sweep, which name it, which change no result."""

import pytest

from headsweep.config import config_root
from headsweep.errors import UserError
from headsweep.sweep.overrides import (
    as_override,
    as_texts,
    is_runtime,
    is_sweep,
    only_sets_a_value,
    parse,
    parsed,
    runtime_values,
    sweep_name,
)
from headsweep.sweep.plan import make_plan


def test_a_file_of_sweeps_makes_a_sweep() -> None:
    assert is_sweep(["sweeps=smoke"])
    assert not is_sweep(["head=simpler", "name=sweeps"])


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["sweeps=smoke"], "smoke"),
        (["sweeps=smoke", "name=mine"], "mine"),
        (["head=a,b", "name=v1.2-x"], "v1.2-x"),
    ],
)
def test_a_sweep_is_named_by_its_name_or_its_file(overrides: list[str], name: str) -> None:
    assert sweep_name(overrides) == name


def test_a_sweep_without_either_is_named_by_what_it_trains() -> None:
    name = sweep_name(["head=a,b", "optim.lr=0.1"])
    assert name.startswith("adhoc-")
    same = ["optim.lr=0.1", "root=x", "head=a,b", "device=cuda"]
    assert sweep_name(same) == name
    assert sweep_name([*same, "seeds=9"]) == name  # more seeds go on with it
    assert sweep_name([*same, "seed=9"]) != name


@pytest.mark.parametrize("name", ["../x", "a/b", "'a b'", "-x", "", "null", "x" * 300, "report"])
def test_a_name_must_be_one_of_a_folder(name: str) -> None:
    with pytest.raises(UserError, match="name="):
        sweep_name([f"name={name}"])


def test_a_name_is_never_taken_from_an_interpolation() -> None:
    with pytest.raises(UserError, match=r"name=\$\{oc.env:X\}: is taken as it is written"):
        sweep_name(["name=${oc.env:X}"])


def test_a_file_that_can_name_no_sweep_is_refused_as_such() -> None:
    with pytest.raises(UserError, match=r"sweeps=deep/mine: .* the nearest is sweeps=deep_mine"):
        sweep_name(["sweeps=deep/mine"])


@pytest.mark.parametrize("override", ["root=a,b", "name=range(3)", "hydra.mode=MULTIRUN"])
def test_a_runtime_key_takes_one_value(override: str) -> None:
    with pytest.raises(UserError, match=override.partition("=")[0]):
        runtime_values([override])


@pytest.mark.parametrize(
    "override", ["head=3", "head=simpler,3", "head=shuffle(3)", "data=1.5", "arm=[1]", "head=true"]
)
def test_a_file_is_chosen_by_a_word(override: str) -> None:
    with pytest.raises(UserError, match="choose one file by its name"):
        runtime_values([override])


@pytest.mark.parametrize("override", ["head='3'", "head='3',simpler", "head={dropout:0.1}"])
def test_a_word_may_be_a_quoted_number_and_a_mapping_sets_values(override: str) -> None:
    assert runtime_values([override]) == {}


def test_glob_finds_the_files_that_a_user_means() -> None:
    jobs = make_plan(["head=glob(*)", "data=tiny"], multirun=True).jobs
    heads = {override for job in jobs for override in job.overrides if override.startswith("head=")}
    assert heads == {f"head={path.stem}" for path in (config_root() / "conf/head").glob("*.yaml")}


@pytest.mark.parametrize("group", ["head", "sweeps", "data"])
def test_a_group_is_not_emptied(group: str) -> None:
    with pytest.raises(UserError, match=f"{group}=null"):
        runtime_values([f"{group}=null"])


def test_the_values_are_those_of_the_runtime_keys() -> None:
    found = runtime_values(["workers=3", "head=simpler", "tracking=false", "optim.lr=0.1"])
    assert found == {"workers": 3, "tracking": False}


@pytest.mark.parametrize(
    ("override", "runtime"),
    [
        ("workers=2", True),
        ("worker.time_limit=5", True),
        ("root=x", True),
        ("+name=x", True),
        ("~tracking", True),
        ("optim.lr=0.1", False),
        ("seeds=3", False),
        ("rooted=x", False),
        ("hydra/sweeper=basic", False),
    ],
)
def test_runtime_overrides_change_no_result(override: str, runtime: bool) -> None:
    assert is_runtime(override) is runtime


@pytest.mark.parametrize(
    ("override", "only"),
    [
        ("optim.lr=0.1", True),
        ("pooling.statistics=[avg]", True),
        ("head=simpler", False),
        ("seeds=3", False),
        ("data/selection=quality", False),
        ("+optim.lr=0.1", False),
        ("~optim.lr", False),
        ("hydra.sweeper.lag=2", False),
        ("data.source={events: 3}", False),
        ("optim@here.x=1", False),
    ],
)
def test_what_only_sets_a_value_needs_no_new_composition(override: str, only: bool) -> None:
    assert only_sets_a_value(parsed(override)) is only


@pytest.mark.parametrize("override", ["head.dropout=[1", "a=interval(1", "two words"])
def test_what_cannot_be_read_is_one_short_error(override: str) -> None:
    with pytest.raises(UserError) as caught:
        parse([override])
    message = str(caught.value)
    assert override in message
    assert "https://" not in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("text", ["a b", "it's", "null", "1e3", "a\\'b", "a\\", "(x", "日本", "~x"])
def test_an_override_holds_any_text(text: str) -> None:
    assert parsed(as_override("name", text)).value() == text
    assert as_override("root", "/tmp/a.b") == "root=/tmp/a.b"


@pytest.mark.parametrize("text", ["${name}", "a\nb"])
def test_a_text_that_no_override_can_hold(text: str) -> None:
    with pytest.raises(UserError, match="root="):
        as_override("root", text)


@pytest.mark.parametrize("name", ["größe", "日本", "1e3", "true", "5", "Ωmega_2.b"])
def test_a_name_is_what_was_typed(name: str) -> None:
    assert sweep_name(as_texts([f"name={name}"])) == name


def test_other_texts_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    same = ["name=", "name=null", "study=null", "name='a b'", "data.source.path=a,b", "--name=ä"]
    assert as_texts(same) == same
    path = as_texts(["data.source.path=~/größe"])
    assert [o.value() for o in parse(path)] == ["/home/me/größe"]
    with pytest.raises(UserError, match=r"name='a\\nb': a name has letters.*nearest is name=a_b"):
        as_texts(["name=a\nb"])


def test_a_root_is_given_in_two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    words = ["--root", "it's", "-m", "rooted=x", "root=~/runs", "root='x'", "root=${oc.env:X}"]
    expected = [r"root='it\'s'", "-m", "rooted=x", "root=/home/me/runs", *words[-2:]]
    assert as_texts(words) == expected
    for alone in (["--root"], ["root="], ["--root="]):
        with pytest.raises(UserError, match="the folder is missing"):
            as_texts(alone)
