"""Find out which regression head to put on a frozen hit transformer, and defend the answer.

The Python interface for notebooks and scripts: ``open_sweep`` gives the results of a sweep.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headsweep.errors import UserError
    from headsweep.report.results import SweepResults, open_sweep

__version__ = "0.1.0"
__all__ = ["SweepResults", "UserError", "__version__", "open_sweep"]

_HOMES = {"SweepResults": "report.results", "UserError": "errors", "open_sweep": "report.results"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: the command line must start quickly."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
