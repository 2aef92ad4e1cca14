"""The command ``headsweep predict``: the trained heads of a job applied to other events."""

from pathlib import Path

from headsweep.files import check_output, write_atomic
from headsweep.instantiate import allow as allow_modules
from headsweep.store import paths
from headsweep.terminal import console, preparing, print_table

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

        found = apply(paths.find_job(root, run), data)
    frames = {seed: pd.DataFrame(tracks.columns()) for seed, tracks in found.items()}
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
