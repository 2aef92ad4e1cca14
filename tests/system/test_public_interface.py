"""The public names of the package; importing them must not slow the command line down."""

import subprocess
import sys

import headsweep

NAMES = ["SweepResults", "UserError", "__version__", "open_sweep"]
"""All that notebooks and scripts may rely on."""

METHODS = ["answer", "figure", "figures", "members", "name", "open_questions", "probe"]
METHODS += ["recommendation", "report", "search", "study", "table", "tables", "verdicts"]


def test_the_public_names() -> None:
    assert sorted(headsweep.__all__) == NAMES
    assert set(NAMES) <= set(dir(headsweep))
    assert all(getattr(headsweep, name) for name in NAMES)
    assert [name for name in dir(headsweep.SweepResults) if not name.startswith("_")] == METHODS
    assert all(getattr(headsweep.SweepResults, name).__doc__ for name in METHODS)


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, headsweep; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"torch", "numpy", "pandas", "scipy", "matplotlib", "hydra"}
    assert heavy.isdisjoint(loaded.stdout.split())


def test_a_name_that_is_not_there() -> None:
    assert not hasattr(headsweep, "open_study")
