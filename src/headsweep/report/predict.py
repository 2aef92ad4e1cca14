"""The command ``headsweep predict``: the trained heads of a job applied to other events."""

from pathlib import Path
from typing import TYPE_CHECKING

from headsweep.files import check_output, write_atomic
from headsweep.instantiate import allow as allow_modules
from headsweep.store import paths
from headsweep.terminal import console, preparing, print_table

if TYPE_CHECKING:
    import pandas as pd

    from headsweep.events.base import Events
    from headsweep.stats.tracks import Tracks

WITHOUT_TRUTH = (
    "The events have no true track: these are predictions only, and no metric is possible. A track "
    "is a query that the backbone calls valid (p of at least 0.5) and that has a hit with p of at "
    "least 0.5. Selections of true tracks are not applied."
)


def predict(
    root: Path, run: str, data: Path, out: Path, force: bool, allow: list[str] | None = None
) -> None:
    """Write predictions of every finished member, and print how good they are, if truth is there.

    Args:
        root: The folder of all output, where ``run`` is a name.
        run: Folder of a job, or key of a single run, or ``NAME/jobs/NUMBER`` of a sweep.
        data: The events, with or without truth, in the layout that the job was trained on.
        out: The Parquet file to write.
        force: Replace an older one.
        allow: Modules of the user's own that may be built from.

    Raises:
        UserError: There is no such job, or the data do not fit it, or ``out`` cannot be written.
    """
    allow_modules(allow)
    check_output(out, force)
    with preparing(console(stderr=True)) as progress:
        progress("predicting", 0.0)
        import numpy as np
        import pandas as pd

        from headsweep.report.scoring import apply
        from headsweep.stats.metrics import evaluate

        found, events = apply(paths.find_job(root, run), data)
    frames = {seed: _table(tracks, events) for seed, tracks in found.items()}
    write_atomic(out, pd.concat(frames, names=["seed"]).reset_index(0).to_parquet(index=False))
    if all(np.isnan(tracks.q_true).all() for tracks in found.values()):
        rows = [[str(seed), f"{len(tracks):,}"] for seed, tracks in found.items()]
        print_table(["seed", "tracks"], rows)
        print(f"{WITHOUT_TRUTH}\nwritten to {out}")
        return
    rows = []
    for seed, tracks in found.items():
        r68, misid = evaluate(tracks, ["qoverpt_r68", "charge_misid"]).values()
        rows.append([str(seed), f"{len(tracks):,}", f"{r68:.4f}", f"{100 * misid:.2f}"])
    print_table(["seed", "tracks", "qoverpt_r68", "charge_misid [%]"], rows)
    print(f"written to {out}")


def _table(tracks: "Tracks", events: "Events") -> "pd.DataFrame":
    """Predictions of one seed, one row a track.

    Where the data say which split an event comes from, ``event`` is its number in that split and
    ``split`` stands beside it: only both together name an event.
    """
    import numpy as np
    import pandas as pd

    from headsweep.events.base import ORIGINS, own_number

    table = pd.DataFrame(tracks.columns())
    if events.origin is not None:
        order = np.argsort(events.ids)
        place = order[np.searchsorted(events.ids, tracks.event, sorter=order)]
        numbers = [own_number(*pair) for pair in zip(events.ids, events.origin, strict=True)]
        table["event"] = np.array(numbers, dtype=np.int64)[place]
        table.insert(1, "split", np.array(ORIGINS)[events.origin[place]])
    return table
