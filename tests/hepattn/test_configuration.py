"""The task is found wherever it stands in a file."""

from pathlib import Path

import pytest
import yaml

from headsweep.errors import UserError
from headsweep.hepattn.configuration import number, read_task
from helpers.upstream import NEEDS_UPSTREAM, UPSTREAM

TASK = {
    "class_path": "hepattn.models.task.WeightedPoolingObjectHitRegressionTask",
    "init_args": {"dim": 8},
}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ([TASK], "0"),
        ({"tasks": [TASK]}, "tasks.0"),
        ({"model": {"init_args": {"tasks": {"init_args": {"modules": [1, TASK]}}}}}, None),
    ],
)
def test_the_task_is_found_anywhere(tmp_path: Path, content: object, place: str | None) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(content))
    found = read_task(path)
    assert found.kind == "WeightedPoolingObjectHitRegressionTask"
    assert found.place == (place or "model.init_args.tasks.init_args.modules.1")
    assert found.arguments == {"dim": 8}


def test_aliases_that_repeat_or_never_end_are_looked_at_once(tmp_path: Path) -> None:
    lines = ["k0: &k0 [1, 1]", *(f"k{n}: &k{n} [*k{n - 1}, *k{n - 1}]" for n in range(1, 60))]
    for text in ("a: &a {b: *a}", "a: &a [*a, {c: *a}]", "\n".join(lines)):
        (tmp_path / "model.yaml").write_text(text)
        with pytest.raises(UserError, match="no regression task"):
            read_task(tmp_path / "model.yaml")


def test_two_tasks_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"tasks": [TASK, TASK]}))
    with pytest.raises(UserError, match=r"tasks\.0, tasks\.1"):
        read_task(path)


@NEEDS_UPSTREAM
def test_the_folders_of_the_data() -> None:
    found = read_task(UPSTREAM / "configs" / "full.yaml")
    assert found.folders == {
        "train_dir": "data/train_filtered",
        "val_dir": "data/val_filtered",
        "test_dir": "data/test_filtered",
    }
    assert found.arguments["dim"] == 32


def test_numbers() -> None:
    assert number("1e-5", "x") == 1e-5
    assert number(3, "x") == 3
    with pytest.raises(UserError, match="x: None is no number"):
        number(None, "x")
