"""Tests stand where their module stands: ``tests/<package>/test_<module>.py``."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src" / "headsweep"
PLUGINS = TESTS.parent / "src" / "hydra_plugins" / "headsweep"

APART = ("system", "helpers", "benchmarks")
"""Folders of tests that mirror no package."""

PICTURES = "through the pictures of a report in report/render/test_pictures.py"
WRITTEN = "through the report in report/render/test_write.py"
NOTEBOOKS = "through the notebooks in system/test_notebooks.py"
ELSEWHERE = {
    "hydra_plugins.sweeper": "through the command in sweep/test_runner.py",
    "report.content": "through the reports in report/test_build.py and report/render",
    "report.notebook.probe": NOTEBOOKS,
    "report.notebook.search_plots": NOTEBOOKS,
    "report.notebook.track_plots": NOTEBOOKS,
    "report.render.all_tables": WRITTEN,
    "report.render.binned_pictures": PICTURES,
    "report.render.claim_tables": "through the report in report/test_claims.py",
    "report.render.markdown": WRITTEN,
    "report.render.matplotlib_renderer": "beside the other one in test_plotly_renderer.py",
    "report.render.report_style": PICTURES,
    "report.render.run_pictures": PICTURES,
    "report.render.search_picture": PICTURES,
    "report.render.tables": WRITTEN,
    "report.render.verdict_tables": WRITTEN,
    "store.tracking.columns": "an upgrade of MLflow fails in system/test_browser.py",
}
"""Modules without a test file of their name, and where their tests are."""

MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path.name != "__init__.py"
} | {
    f"hydra_plugins.{path.stem}": path
    for path in sorted(PLUGINS.glob("*.py"))
    if path.name != "__init__.py"
}
FILES = [
    path.relative_to(TESTS)
    for path in sorted(TESTS.rglob("test_*.py"))
    if path.relative_to(TESTS).parts[0] not in APART
]


def has_logic(path: Path) -> bool:
    """True for a module in which some function does more than to be declared."""
    return any(
        not isinstance(node.body[-1], ast.Expr)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def own_tests(module: str) -> Path:
    """Where the tests of a module are, relative to ``tests``."""
    *folders, name = module.split(".")
    return Path(*folders, f"test_{name}.py")


@pytest.mark.parametrize("module", MODULES)
def test_every_module_with_logic_has_a_test_file_of_its_name(module: str) -> None:
    has_one = own_tests(module) in FILES
    if module in ELSEWHERE:
        assert not has_one, "take it out of ELSEWHERE"
    else:
        assert has_one or not has_logic(MODULES[module])


def test_what_is_tested_elsewhere_is_there() -> None:
    assert set(ELSEWHERE) <= set(MODULES)
    assert len(ELSEWHERE) <= 16


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_test_file_is_about_a_module(file: Path) -> None:
    """A large one may have a second file: ``test_<module>_<subject>.py``."""
    words = file.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:end]) for end in range(1, len(words) + 1)]
    modules = [".".join((*file.parent.parts, name)) for name in names]
    assert set(modules) & set(MODULES)


ALL = [path.relative_to(TESTS) for path in sorted(TESTS.rglob("*.py"))]


@pytest.mark.parametrize("file", ALL, ids=str)
def test_a_file_of_tests_is_short_and_says_what_it_is_about(file: Path) -> None:
    text = (TESTS / file).read_text()
    assert text.count("\n") <= 400
    assert ast.get_docstring(ast.parse(text))
