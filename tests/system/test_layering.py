"""Which package may import which, and what the configuration may refer to."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from headsweep.config import config_root

SOURCE = config_root() / "src"

GROUND = {"errors", "files", "config", "identity", "instantiate", "terminal"}
"""What every package may import: five modules of the root, and the schema."""

PACKAGES = {
    "config": {"errors"},
    "stats": {"errors", "files"},
    "heads": set(),
    "events": GROUND,
    "backbone": GROUND | {"events"},
    "features": GROUND | {"events", "backbone", "stats"},
    "training": GROUND | {"events", "features", "heads", "stats"},
    "store": GROUND | {"stats"},
    "sweep": GROUND | {"events", "backbone", "features", "heads", "training", "store", "stats"},
}
PACKAGES["hepattn"] = PACKAGES["sweep"]
PACKAGES["report"] = {*PACKAGES["sweep"], "sweep"}
"""Every package, and what it may import beside itself."""

ROOT = {
    "errors": set(),
    "files": {"errors"},
    "identity": {"config", "errors", "files"},
    "instantiate": {"config", "errors"},
    "terminal": {"errors"},
    "commands": {*GROUND, *PACKAGES},
    "cli": {"errors", "commands", "sweep"},
}
"""Every module of the root, and what it may import."""

PLACES = {
    "hydra": {
        "config.experiment",
        "sweep.compose",
        "sweep.entry",
        "sweep.hydra_app",
        "sweep.internals",
        "sweep.launching",
        "sweep.config_files",
        "sweep.messages",
        "sweep.overrides",
    }
    | {"sweep.plan", "sweep.runner"},
    "omegaconf": {
        "config.data",
        "config.experiment",
        "config.ranges",
        "sweep.compose",
        "sweep.hydra_app",
        "sweep.internals",
        "sweep.launching",
        "sweep.config_files",
        "sweep.messages",
        "sweep.overrides",
        "sweep.plan",
    }
    | {"sweep.runner", "sweep.search.reading"},
    "mlflow": {"store.tracking.mlflow_client"},
    "optuna": {"report.notebook.importance", "store.trials", "sweep.internals", "sweep.queue"}
    | {"sweep.search.mirror", "sweep.search.placing", "sweep.search.queue", "sweep.search.rules"}
    | {"sweep.search.storage"},
    "typer": {"commands"},
}
"""The only modules that import a library; plugins apart."""

MOST_LINES, MOST_OF_A_FUNCTION = 400, 60
"""Lines of a file, and of a function with its docstring, but without its decorators."""


def imports(path: Path) -> set[str]:
    """All modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            known = [name for name in names if name.removeprefix("headsweep.") in FILES]
            found |= set(known) if known else {node.module}
    return found


FILES = {
    ".".join(path.relative_to(SOURCE / "headsweep").with_suffix("").parts): path
    for path in sorted((SOURCE / "headsweep").rglob("*.py"))
    if path.name != "__init__.py"
}
PLUGINS = {
    f"hydra_plugins.{path.stem}": path for path in sorted((SOURCE / "hydra_plugins").rglob("*.py"))
}
BENCHMARKS = {
    str(path.relative_to(config_root())): path
    for path in sorted((config_root() / "benchmarks").rglob("*.py"))
}
MODULES = {name: imports(path) for name, path in FILES.items()}
OURS = {
    name: {i.removeprefix("headsweep.") for i in found if i.startswith("headsweep.")}
    for name, found in MODULES.items()
}


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_downwards(name: str) -> None:
    package = name.partition(".")[0]
    allowed = PACKAGES[package] | {package} if "." in name else ROOT[name]
    assert {i for i in OURS[name] if i.partition(".")[0] not in allowed} == set()


def test_nothing_imports_in_a_circle() -> None:
    TopologicalSorter(OURS).prepare()


def test_the_listing_of_the_source_is_short() -> None:
    root = {path.stem for path in (SOURCE / "headsweep").glob("*.py")}
    assert root == {*ROOT, "__init__"}
    assert len(root) <= 8
    folders = {path.parent for path in (SOURCE / "headsweep").rglob("*.py")} - {SOURCE}
    for folder in folders:
        doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert doc, folder
        assert len(doc.partition("\n")[0]) < 100


@pytest.mark.parametrize("name", [*FILES, *PLUGINS, *BENCHMARKS])
def test_no_file_and_no_function_is_long(name: str) -> None:
    text = {**FILES, **PLUGINS, **BENCHMARKS}[name].read_text()
    sizes = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    }
    assert text.count("\n") <= MOST_LINES
    assert {name: size for name, size in sizes.items() if size > MOST_OF_A_FUNCTION} == {}


@pytest.mark.parametrize("library", PLACES)
def test_libraries_have_their_place(library: str) -> None:
    users = {
        name
        for name, found in MODULES.items()
        if library in {module.partition(".")[0] for module in found}
    }
    assert users <= PLACES[library]


def test_few_interpolations() -> None:
    files = [path for name in ("conf", "sweeps") for path in (config_root() / name).rglob("*.yaml")]
    found = [name for path in files for name in re.findall(r"\$\{([^}]*)\}", path.read_text())]
    assert sorted(found) == ["data.source.path", "hydra:job.num", "name", "root", "root"]


def test_only_three_things_are_built_from_yaml() -> None:
    files = (SOURCE / "headsweep/config").glob("*.py")
    built = {
        node.name
        for node in (node for file in files for node in ast.parse(file.read_text()).body)
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == "_target_"
    }
    heads = {"MLPHeadConfig", "DenseHeadConfig"}
    backbones = {"TransformerConfig", "TruthConfig", "RecordedConfig"}
    sources = {"SpectrometerConfig", "HepattnConfig", "TracksConfig", "FrozenConfig"}
    assert built == heads | backbones | sources
    yaml = [p for n in ("conf", "sweeps") for p in (config_root() / n).rglob("*.yaml")]
    assert not [path for path in yaml if "_target_" in path.read_text()]
