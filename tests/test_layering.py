"""Who may import whom, and what the configuration may refer to."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from headsweep.config import config_root

SOURCE = config_root() / "src"

ONLY_ERRORS = {"errors"}
ALLOWED = {
    "errors": set(),
    "config": ONLY_ERRORS,
    "metrics": {"errors", "quantiles"},
    "quantiles": set(),
    "store": ONLY_ERRORS,
    "resampling": set(),
    "power": set(),
    "contrast": {"errors", "power"},
    "verdict": {"errors", "contrast", "power", "resampling"},
    "stability": {"contrast", "power", "verdict"},
    "factorial": {"errors", "contrast", "verdict"},
    "claims": {"verdict"},
    "pages": {"errors", "intervals", "metrics", "store", "tasks"},
    "tracking": {"errors", "changes", "pages", "store", "view"},
    "view": set(),
    "heads": {"heads.base"},
    "keys": {"config"},
    "events": {"errors", "config", "keys", "store", "events"},
    "backbone": {"errors", "config", "keys", "store", "events.base", "backbone"},
    "train": {"errors", "config", "curves", "metrics", "pooling", "population", "targets"},
}
"""What a module, or the modules of a package, may import of ours; others may import downwards."""

PLACES = {
    "hydra": {"config", "jobs", "overrides", "private", "run", "sweep"},
    "omegaconf": {"config", "jobs", "overrides", "private", "run", "search", "sweep"},
    "mlflow": {"tracking"},
    "optuna": {"importances", "journal", "private", "search", "study", "tasks", "trials"},
    "typer": {"verbs"},
}
"""The only modules that import a library; plugins apart."""

ENTRY = {"cli", "command", "crew", "launch", "preview", "run", "sweep", "verbs", "worker"}
"""Modules of the command line: nothing below imports them."""


def imports(path: Path) -> set[str]:
    """All modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module in ("headsweep", "headsweep.events", "headsweep.backbone")
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= set(names) if whole else {node.module}
    return found


MODULES = {
    ".".join(path.relative_to(SOURCE / "headsweep").with_suffix("").parts): imports(path)
    for path in sorted((SOURCE / "headsweep").rglob("*.py"))
    if path.name != "__init__.py"
}
OURS = {
    name: {i.removeprefix("headsweep.") for i in found if i.startswith("headsweep.")} & set(MODULES)
    for name, found in MODULES.items()
}


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_downwards(name: str) -> None:
    allowed = ALLOWED.get(name, ALLOWED.get(name.partition(".")[0]))
    if allowed is not None:
        assert {i for i in OURS[name] if not {i, i.partition(".")[0]} & allowed} == set()
    if name not in ENTRY:
        assert OURS[name] & ENTRY == set()


def test_nothing_imports_in_a_circle() -> None:
    TopologicalSorter(OURS).prepare()


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
    assert sorted(found) == ["hydra:job.num", "name", "root", "root"]


def test_only_three_things_are_built_from_yaml() -> None:
    classes = ast.parse((SOURCE / "headsweep/config.py").read_text()).body
    built = {
        node.name
        for node in classes
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == "_target_"
    }
    heads, backbones = {"MLPHeadConfig"}, {"TransformerConfig", "TruthConfig"}
    sources = {"SpectrometerConfig", "HepattnConfig", "TracksConfig"}
    assert built == heads | backbones | sources
    yaml = [p for n in ("conf", "sweeps") for p in (config_root() / n).rglob("*.yaml")]
    assert not [path for path in yaml if "_target_" in path.read_text()]
