"""Errors of a configuration as one line: what is said, and what is left out."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from yaml import YAMLError

from headsweep.errors import UserError
from headsweep.sweep.messages import did_you_mean, short_errors, short_message
from headsweep.sweep.plan import make_plan


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head=conservativ", "head=conservativ: .*did you mean conservative?"),
        ("sweeps=prests", "sweeps=prests: .*did you mean presets?"),
        (
            "head=zzz",
            "there are: conservative, dense, direct_projection, more_capacity, recommended, ",
        ),
        ("arm=befor", "arm=befor: .*did you mean before?"),
        ("data/selection=qualit", "data/selection/qualit.yaml; did you mean quality?"),
        ("data/selecton=quality", "data/selecton: no such group; did you mean data/selection?"),
        ("head.droput=0.2", "Could not override 'head.droput'.*Did you mean: 'dropout'?"),
        ("optim.steps=many", "optim.steps=many: Value 'many'"),
        ("optim.batch_size=null", "field 'optim.batch_size' is not Optional"),
        ("optim.batch_size=???", "optim.batch_size is missing: give optim.batch_size=VALUE"),
        (
            "pooling.statistics=avg",
            r"pooling.statistics=avg: must be a list, such as pooling.statistics=\[avg\]",
        ),
        ("pooling.statistics={a:1}", r"a list, such as pooling.statistics=\[VALUE\]"),
        ("data.source=[1]", r"must be a mapping, such as data.source=\{KEY: VALUE\}"),
        ("head.dropout=[1", r"head.dropout=\[1: cannot be read; quote"),
        ("name=größe", "name=größe: cannot be read; quote"),
        ("~head.dropout", "~head.dropout: .*does not support deletion"),
    ],
)
def test_a_mistake_is_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_plan([override], multirun=override.startswith("sweeps"))
    said = str(caught.value)
    assert "\n" not in said
    assert not any(word in said for word in ("schema_", "search path", "+", "https:"))


def test_an_error_with_a_cause_names_its_key() -> None:
    with pytest.raises(UserError, match=r"^a\.b: Interpolation key 'c' not found$"), short_errors():
        _ = OmegaConf.create({"a": {"b": "${c}"}}).a.b


def test_errors_of_yaml_are_the_users() -> None:
    assert short_message(YAMLError("line 3\n\tcolumn 2")) == "line 3 column 2"
    with pytest.raises(KeyError), short_errors():
        raise KeyError("ours")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defaults: [own]\n", "its own default"),
        ("# @f_\na: 1\n", "Expected header format"),
        ('defaults: ["\\0", _self_]\n', "null byte"),
    ],
)
def test_whatever_a_file_leads_hydra_to_is_the_users(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "head").mkdir()
    (tmp_path / "head/own.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        make_plan(["head=own"], multirun=False, config_dir=str(tmp_path))


def test_a_far_word_gets_the_whole_list() -> None:
    assert did_you_mean("conservativ", ["conservative", "other"]) == "did you mean conservative?"
    assert did_you_mean("zzz", ["a", "b"]) == "there are: a, b"
    assert did_you_mean("zzz", []) == "there are: none"
