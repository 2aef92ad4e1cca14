"""Configurations in hepattn's form against what a correct reader must find in them."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from headsweep.errors import UserError
from headsweep.events.hepattn import FEATURES
from headsweep.hepattn.importing import import_head, print_import, save
from headsweep.instantiate import make
from headsweep.sweep.plan import make_plan
from helpers.upstream import NEEDS_UPSTREAM, UPSTREAM

CONFIGS = UPSTREAM / "configs"
EXPECTED: dict[str, Any] = (
    json.loads((CONFIGS / "expected.json").read_text()) if UPSTREAM.is_dir() else {}
)
SNIPPET: dict[str, Any] = {
    "dim": 8,
    "hit_fields": ["x", "y"],
    "fields": ["truthMuon_eta", "truthMuon_phi", "truthMuon_pt", "truthMuon_q"],
}


def write(folder: Path, **changes: Any) -> Path:
    """A list with one task; a change to None takes the argument away."""
    arguments = {k: v for k, v in (SNIPPET | changes).items() if v is not None}
    path = folder / "tasks.yaml"
    kind = "hepattn.models.task.WeightedPoolingObjectHitRegressionTask"
    path.write_text(yaml.safe_dump([{"class_path": kind, "init_args": arguments}]))
    return path


@NEEDS_UPSTREAM
@pytest.mark.parametrize("name", EXPECTED)
def test_what_the_golden_configurations_say(name: str) -> None:
    want = EXPECTED[name]
    if want["answer"] == "refused":
        with pytest.raises(UserError, match=want["reason"]):
            import_head(CONFIGS / name)
        return
    found = import_head(CONFIGS / name)
    assert found.dim == want["dim"]
    assert len(found.hit_fields) == want["features"]
    assert found.pt_unit == want.get("pt_scale", 1)
    assert found.values == {
        "features.name": "document",
        "features.assignment_threshold": want["assignment_threshold"],
        "pooling.projection": want["projection"],
        "pooling.activation": want["activation"],
        "head.regression_hidden_dim": want["regression_hidden_dim"],
        "head.regression_num_layers": want["regression_num_layers"],
        "head.dropout": want["dropout"],
        "target.name": want["target"],
    }
    for said in want.get("said", []):
        assert any(note.startswith(f"{said}: ") for note in found.notes)


@NEEDS_UPSTREAM
@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, want in EXPECTED.items() if want["answer"] != "refused"])
def test_the_overrides_and_the_saved_file_compose_to_the_same(name: str, tmp_path: Path) -> None:
    found = import_head(CONFIGS / name)
    path = tmp_path / "conf" / "head" / "mine.yaml"
    save(found, CONFIGS / name, path, force=False)
    by_file = make_plan(["head=mine"], False, str(tmp_path / "conf")).jobs[0].resolved
    by_keys = make_plan(found.overrides(), multirun=False).jobs[0].resolved
    for group in ("head", "pooling", "features", "target", "data", "backbone"):
        assert by_file[group] == by_keys[group]
    assert by_file["pooling"]["projection"] == "mlp"
    with pytest.raises(UserError, match=r"mine\.yaml"):
        save(found, CONFIGS / name, path, force=False)


@NEEDS_UPSTREAM
@pytest.mark.parametrize("name", ["full.yaml", "features_22.yaml"])
def test_the_data_folders_become_overrides(name: str) -> None:
    found = import_head(CONFIGS / name)
    source = make_plan(found.data_overrides(), multirun=False).jobs[0].resolved["data"]["source"]
    given = [source[key] for key in ("path", "val", "test")]
    assert given == ["data/train_filtered", "data/val_filtered", "data/test_filtered"]
    usual = name == "full.yaml"
    assert source["features"] == (None if usual else list(found.hit_fields))
    made = make(source)
    assert made.features == (FEATURES if usual else FEATURES[:-1])


def test_names_of_folders_are_quoted(tmp_path: Path) -> None:
    path = write(tmp_path)
    names = ["runs 1/it's", "a=b,c", "plain/x-1"]
    data = dict(zip(("train_dir", "val_dir", "test_dir"), names, strict=True))
    path.write_text(yaml.safe_dump({"model": yaml.safe_load(path.read_text()), "data": data}))
    overrides = import_head(path).data_overrides()
    source = make_plan(overrides, multirun=False).jobs[0].resolved["data"]["source"]
    assert [source[key] for key in ("path", "val", "test")] == names


def test_without_all_three_folders_there_are_no_overrides(tmp_path: Path) -> None:
    assert import_head(write(tmp_path)).data_overrides() == []


@NEEDS_UPSTREAM
def test_the_shapes_of_a_checkpoint_win_over_the_text(tmp_path: Path) -> None:
    """Its head has 144 x 3; the text of ``full.yaml`` says 256 x 4."""
    found = import_head(CONFIGS / "full.yaml", UPSTREAM / "lightning.ckpt")
    assert found.values["head.regression_hidden_dim"] == 144
    assert found.values["head.regression_num_layers"] == 3
    assert found.values["head.dropout"] == 0.15  # no shape says it
    assert found.values["pooling.activation"] == "swiglu"
    assert "regression_num_layers: 3 in the checkpoint, which counts, 4 in the YAML" in found.notes
    with pytest.raises(UserError, match="hit_fields 23, and the configuration 22"):
        import_head(CONFIGS / "features_22.yaml", UPSTREAM / "lightning.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"regression_num_layers": -1}, "regression_num_layers=-1: must be"),
        ({"assignment_threshold": 1.7}, "assignment_threshold=1.7: must be"),
        ({"dropout": 1.0}, "dropout=1.0: must be"),
    ],
)
def test_numbers_out_of_range_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        import_head(write(tmp_path, **change))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": None}, "dim is missing"),
        ({"hit_fields": None}, "hit_fields is missing"),
        ({"dim": "wide"}, "dim: 'wide' is no number"),
        ({"fields": ["truthMuon_pt"]}, "fields"),
        ({"fields": ["phi", "eta", "pt", "q"]}, "in this order"),
        ({"fields": [*SNIPPET["fields"], "truthMuon_d0"]}, "d0"),
        ({"inverse_fields": ["truthMuon_eta"]}, "inverse_fields"),
        ({"dropout": "much"}, "dropout: 'much'"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        import_head(path)
    assert str(path) in str(caught.value)


def test_numbers_without_a_dot_and_unknown_arguments(tmp_path: Path) -> None:
    path = write(tmp_path, dropout="1e-1", gate="none", regression_hidden_dim=None)
    found = import_head(path)
    assert found.values["head.dropout"] == 0.1
    assert found.values["head.regression_hidden_dim"] == 36
    assert any(note.startswith("gate: left out") for note in found.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no regression task"),
        ("a: [1", "cannot be read"),
        ("- {class_path: hepattn.models.task.ObjectRegressionTask}", "no pooling in this task"),
        ("- {class_path: os.system, init_args: {dim: 3}}", "no regression task"),
    ],
)
def test_files_without_a_task_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        import_head(path)
    with pytest.raises(UserError, match=r"absent\.yaml"):
        import_head(tmp_path / "absent.yaml")


def test_a_file_is_saved_only_as_a_head(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(UserError, match="a folder head/"):
        save(import_head(path), path, tmp_path / "mine.yaml", force=False)


@NEEDS_UPSTREAM
def test_what_the_command_prints_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_import(CONFIGS / "pt_over_200.yaml", None, None, force=False)
    out = capsys.readouterr().out
    assert "23 hit features" in out
    assert "target.standardise=false target.pt_unit=200" in out
    command = shlex.split(out.splitlines()[-1])
    assert command[:2] == ["headsweep", "train"]
    job = make_plan(command[2:], multirun=False).jobs[0]
    assert job.config.head.regression_num_layers == 1
    assert out.splitlines()[-2].startswith("headsweep data validate data=hepattn data.source.path=")
    print_import(CONFIGS / "full.yaml", None, tmp_path / "a b" / "head" / "mine.yaml", force=False)
    hint = shlex.split(capsys.readouterr().out.splitlines()[-1].partition("use it: ")[2])
    folder = hint[hint.index("--config-dir") + 1]
    assert make_plan([hint[-1]], False, folder).jobs[0].config.head.regression_hidden_dim == 256
