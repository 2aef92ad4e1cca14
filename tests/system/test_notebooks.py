"""The notebooks: run on real trainings at smoke size, and as they are committed."""

import ast
import base64
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from headsweep.config import config_root
from helpers.command import run_here

pytestmark = pytest.mark.slow

FOLDER = config_root() / "notebooks"
PICTURES = {"ablation": 5, "search": 4, "anatomy": 2}
"""Number of pictures of each notebook; there are no other notebooks."""

PARAMETERS = {
    "ablation": {"name": "presets", "arms": "before_after"},
    "search": {"name": "search"},
    "anatomy": {"name": "presets"},
}
"""The first cell of each but for ``root``: what is trained for it here."""

SMALL = [
    *("data=tiny", "data.source.events=200", "backbone=truth", "tracking=false", "workers=1"),
    *("optim.batch_size=32", "rates=tuned"),
]
TWO = "hydra.sweeper.objective=[val_qoverpt_r68,params_total]"
COMMANDS = [
    ["sweeps=presets", "seeds=2", "optim.steps=20"],
    ["sweeps=before_after", "seeds=2", "optim.steps=20"],
    ["sweeps=search", "seeds=2", "optim.steps=10", "hydra.sweeper.n_trials=6", TWO],
]
MOST_BYTES = 1_500_000
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|usr|opt|var|mnt)\b|[A-Z]:\\\\")
"""The beginning of a path that is of one machine only."""


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook: Any) -> list[bytes]:
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    found = [output.get("data", {}).get("image/png") for output in outputs]
    return [base64.b64decode(png) for png in found if png]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two grids and a search of two objectives, trained for real."""
    folder = tmp_path_factory.mktemp("trained")
    for line in COMMANDS:
        run_here(folder, "train", *line, *SMALL)
    return folder / "runs"


@pytest.fixture(autouse=True)
def _jupyter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of Jupyter's is written to, or read from, the home folder."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_these_are_all() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_a_notebook_runs(name: str, root: Path, tmp_path: Path) -> None:
    notebook = read(name)
    first = code(notebook)[0]
    given = {"root": os.path.relpath(root, tmp_path), **PARAMETERS[name]}
    first.source = "\n".join(f"{key} = {value!r}" for key, value in given.items())
    for cell in code(notebook):
        cell.outputs = []
    resources = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources)
    client.execute()  # an error in a cell is raised
    kinds = {output.output_type for cell in code(notebook) for output in cell.outputs}
    assert "error" not in kinds
    assert len(pictures(notebook)) == PICTURES[name]


@pytest.mark.parametrize("name", PICTURES)
def test_a_notebook_calls_functions_and_defines_none(name: str) -> None:
    cells = code(read(name))
    for cell in cells:
        nodes = list(ast.walk(ast.parse(cell.source)))
        assert not [
            node
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda)
        ]
        assert len(cell.source.splitlines()) <= 12
    parameters = ast.parse(cells[0].source).body
    assert all(isinstance(line, ast.Assign) for line in parameters)
    names = [ast.unparse(line.targets[0]) for line in parameters if isinstance(line, ast.Assign)]
    assert names == ["root", *PARAMETERS[name]]


@pytest.mark.parametrize("name", PICTURES)
def test_a_notebook_needs_the_public_interface_only(name: str) -> None:
    nodes = [node for cell in code(read(name)) for node in ast.walk(ast.parse(cell.source))]
    assert not [node for node in nodes if isinstance(node, ast.ImportFrom)]
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert "headsweep" in found
    assert found <= {"headsweep", "matplotlib", "numpy", "pandas"}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_committed_was_run(name: str) -> None:
    path, notebook = FOLDER / f"{name}.ipynb", read(name)
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    found = pictures(notebook)
    assert len(found) == PICTURES[name]
    assert all(png.startswith(b"\x89PNG") and len(png) > 10_000 for png in found)
    assert path.stat().st_size < MOST_BYTES
    text = [cell.source for cell in notebook.cells]
    outputs = [output for cell in cells for output in cell.outputs]
    text += [output.get("text", "") for output in outputs]
    text += [str(v) for o in outputs for k, v in o.get("data", {}).items() if k != "image/png"]
    assert not [line for line in text if MACHINE.search(line)]
    assert not [output for output in outputs if output.get("name") == "stderr"]
