"""The command ``headsweep why``: the steps from a preset to the best trial of a search."""

from collections.abc import Sequence
from pathlib import Path

from headsweep.report.run import make_report
from headsweep.store.paths import DEFAULT_ROOT
from headsweep.sweep import entry
from headsweep.sweep.overrides import as_override, runtime_values


def explain(study: str, overrides: Sequence[str], config_dir: str | None, root: str | None) -> int:
    """Train ``sweeps=why`` of a search, and print its report; what is trained is not trained again.

    Args:
        study: Name of the search.
        overrides: More of the command line, such as ``head=simpler`` or ``seeds=auto``.
        config_dir: One more folder of configuration.
        root: The folder of all output, as ``root=FOLDER``.

    Returns:
        The exit code of the training.

    Raises:
        UserError: There is no such search, or it is not finished.
    """
    from headsweep.report.render.write import print_report

    own = [*overrides, *([] if root is None else [as_override("root", root)])]
    given = runtime_values(own)
    name = str(given.get("name", f"{study}-why"))
    if "name" not in given:
        own.insert(0, as_override("name", name))
    options = [] if config_dir is None else ["--config-dir", config_dir]
    code = entry.train(["sweeps=why", as_override("study", study), *own, *options])
    if code == 0:
        found, folder = make_report(Path(given.get("root", DEFAULT_ROOT)), name)
        print_report(found)
        if folder is not None:
            print(f"written to {folder}")
    return code
