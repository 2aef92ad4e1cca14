"""Run folders, the source of truth of every experiment: written atomically, read into tables.

A job folder holds ``config.yaml``, ``job.json``, ``progress.json`` and one ``seed_<s>`` folder for
each member. A seed folder counts only when it has a ``result.json``, which is written last.
Torch, pandas and filelock are imported where they are used, so that ``headsweep list`` is quick.
"""

import math
import secrets
import shlex
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from headsweep.errors import UserError, reading, without_secrets
from headsweep.files import flat, read_json, read_yaml, write_atomic, write_json
from headsweep.store import paths

if TYPE_CHECKING:
    import pandas as pd
    import torch

RUN_SCHEMA = 2
"""Version of ``job.json`` and ``result.json``; raised when their meaning changes."""

DAMAGED_SEED = "delete this seed folder and train again"

GROWING = {"seeds", "n_trials"}
"""Numbers of a sweep's specification that may be raised."""


def write_job(folder: Path, config: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    """Write ``config.yaml`` (resolved, all keys, no secrets) and ``job.json`` of a job folder."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # five times faster, the same text
    text = yaml.dump(without_secrets(config), Dumper=dumper, sort_keys=False)
    write_atomic(folder / paths.CONFIG, text.encode())
    write_json(folder / paths.JOB, {"schema": RUN_SCHEMA, **job})


def write_code(folder: Path, code: Mapping[str, str]) -> None:
    """Keep the user's own modules that a job is trained with."""
    for module, text in code.items():
        write_atomic(folder / f"{paths.CODE}{module}.py", text.encode())


def write_member(
    folder: Path,
    result: Mapping[str, Any],
    history: "pd.DataFrame | None" = None,
    weights: "Mapping[str, torch.Tensor] | None" = None,
    last_weights: "Mapping[str, torch.Tensor] | None" = None,
    predictions: "pd.DataFrame | None" = None,
) -> None:
    """Write one member; whenever it is killed, the member is complete or does not count.

    Args:
        folder: The seed folder, ``seed_<s>``; an older result in it stops counting first.
        result: Content of ``result.json``; NaN and infinity become null.
        history: One row for each evaluation.
        weights: Parameters with the lowest validation loss.
        last_weights: Parameters after the last step.
        predictions: Columns of ``metrics.Tracks`` on the validation split, one row a track.
    """
    (folder / paths.RESULT).unlink(missing_ok=True)
    if history is not None:
        write_atomic(folder / paths.HISTORY, history.to_csv(index=False).encode())
    for name, tensors in ((paths.WEIGHTS, weights), (paths.LAST_WEIGHTS, last_weights)):
        if tensors is not None:
            write_atomic(folder / name, _weights_bytes(tensors))
    if predictions is not None:
        buffer = BytesIO()
        predictions.to_parquet(buffer, index=False)
        write_atomic(folder / paths.PREDICTIONS, buffer.getvalue())
    write_json(folder / paths.RESULT, {"schema": RUN_SCHEMA, **result})


def load_weights(path: Path) -> "dict[str, torch.Tensor]":
    """Tensors of a ``safetensors`` file, on the CPU.

    Raises:
        UserError: The file is missing or is not a ``safetensors`` file.
    """
    from safetensors.torch import load_file

    with reading(path, DAMAGED_SEED):
        return load_file(path)


def read_result(folder: Path) -> dict[str, Any] | None:
    """``result.json`` of a seed folder, or None where the member is not complete.

    Raises:
        UserError: It was written by another version of headsweep.
    """
    return _read_versioned(folder / paths.RESULT)


def read_job(folder: Path) -> dict[str, Any] | None:
    """``job.json`` of a job folder, or None where it is missing.

    Raises:
        UserError: It was written by another version of headsweep.
    """
    return _read_versioned(folder / paths.JOB)


def read_history(folder: Path) -> "pd.DataFrame":
    """``history.csv`` of a seed folder: one row for each evaluation.

    Raises:
        UserError: It is missing or damaged.
    """
    import pandas as pd

    path = folder / paths.HISTORY
    with reading(path, DAMAGED_SEED):
        found = pd.read_csv(path).astype(float)
        found[["step", "train_loss", "val_loss"]]  # an error names what is not there
        return found


def read_predictions(folder: Path) -> dict[str, Any]:
    """Columns of ``metrics.Tracks`` on the validation split, as training wrote them.

    Raises:
        UserError: They are missing or damaged.
    """
    import pandas as pd

    path = folder / paths.PREDICTIONS
    with reading(path, DAMAGED_SEED):
        columns = pd.read_parquet(BytesIO(path.read_bytes()))  # of a folder it would read all
        return {str(name): columns[name].to_numpy() for name in columns}


def read_results(folder: Path) -> dict[int, dict[str, Any]]:
    """Results of all complete members of a job, by seed in rising order."""
    found = ((seed, read_result(path)) for seed, path in paths.seed_folders(folder).items())
    return {seed: result for seed, result in found if result}


def last_end(folder: Path) -> float | None:
    """Time at which the last member of a job ended, as recorded, seconds since the epoch.

    Times of files change with every copy. None of a job without such a record.
    """
    ends = [result.get("ended") for result in read_results(folder).values()]
    return max((float(end) for end in ends if end), default=None)


def read_config(folder: Path) -> dict[str, Any]:
    """``config.yaml`` of a job folder."""
    return read_yaml(folder / paths.CONFIG)


def write_progress(folder: Path, progress: Mapping[str, Any]) -> None:
    """Write ``progress.json``, for the live display only: not waiting for the disk."""
    write_json(folder / paths.PROGRESS, progress, sync=False)


def read_progress(folder: Path) -> dict[str, Any] | None:
    """``progress.json`` of a job folder, or None before its first one."""
    return read_json(folder / paths.PROGRESS)


def read_spec(folder: Path) -> dict[str, Any]:
    """``spec.yaml`` of a sweep folder; empty where there is none."""
    path = folder / paths.SPEC
    return read_yaml(path) if path.exists() else {}


def root_id(root: Path) -> str:
    """Identifier of a root, among others on the same server; it moves with the folder."""
    path = root / paths.ROOT_ID
    if not path.exists():
        write_atomic(path, secrets.token_hex(8).encode())
    with reading(path, "remove it; MLflow then takes this root for a new one"):
        return path.read_text(encoding="utf-8")


def write_command(folder: Path, command: str) -> None:
    """Keep the command line that goes on with a sweep, without secrets."""
    write_atomic(folder / paths.COMMAND, f"{without_secrets(command)}\n".encode())


def read_command(folder: Path) -> str:
    """The last command line of a sweep, with the root where it lies now."""
    path = folder / paths.COMMAND
    with reading(path, "delete it; the sweep's next command writes it anew"):
        words = shlex.split(path.read_text(encoding="utf-8"))
    kept = [word for word in words[2:] if not word.startswith("root=")]
    return paths.command("train", folder.parents[1], *kept)


def find_jobs(folder: Path) -> list[Path]:
    """Job folders below a root, ``root/runs`` or a sweep, or the one given.

    Sweeps come by name, jobs by number.
    """
    if (folder / paths.JOB).is_file():
        return [folder]
    of_sweeps = [path / paths.JOBS for path in (folder, *paths.sweep_folders(folder))]
    return [
        job
        for parent in (folder, *of_sweeps, folder / paths.RUNS)
        for job in sorted(parent.glob("*"), key=_job_order)
        if (job / paths.JOB).is_file()
    ]


def frame(folder: Path) -> "pd.DataFrame":
    """Table of all complete members below a root, a sweep or a job folder.

    Columns: ``sweep`` (None for a single run), ``job`` (number, or key of a single run),
    ``folder``, the labels (``head``, ``data``, ..), the configuration with dotted names
    (``optim.lr``; lists joined by commas), ``job_key``, ``member_key``, ``seed``, ``status``,
    ``reason``, ``steps``, ``best_step``, ``seconds``, parameter counts (``params_total``, ..,
    ``aggregated_dim``) and the metrics under their own names, NaN where there is none.
    """
    import pandas as pd

    first = ["sweep", "job", "folder", "job_key", "member_key", "seed", "status", "reason"]
    rows = [row for job in find_jobs(folder) for row in _rows(job)]
    return pd.DataFrame(rows, columns=None if rows else first)


def claim_sweep(folder: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Give a sweep folder to one specification, or refuse it to another.

    Of the ``GROWING`` numbers the larger one stands, so that more of them extend a sweep and fewer
    change nothing.

    Args:
        folder: ``root/sweeps/<name>``.
        spec: The specification of the sweep, as plain values.

    Returns:
        The specification that now stands in ``spec.yaml``.

    Raises:
        UserError: The folder belongs to another specification; the message lists each difference.
    """
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, Any] = yaml.safe_load(yaml.safe_dump(without_secrets(spec)))
    with FileLock(folder / ".spec.lock"):
        stored = read_spec(folder)
        if stored:
            _refuse_difference(folder, stored, wanted)
        for key in GROWING & stored.keys() & wanted.keys():
            wanted[key] = max(stored[key], wanted[key])
        if wanted != stored:
            write_atomic(folder / paths.SPEC, yaml.safe_dump(wanted, sort_keys=False).encode())
    return wanted


def _read_versioned(path: Path) -> dict[str, Any] | None:
    value = read_json(path)
    if value is not None and value.get("schema") != RUN_SCHEMA:
        raise UserError(
            f"{path}: schema {value.get('schema')}, this headsweep reads {RUN_SCHEMA}; "
            "use the version that wrote it, or another root"
        )
    return value


def _weights_bytes(weights: "Mapping[str, torch.Tensor]") -> bytes:
    from safetensors.torch import save

    copies = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    return save(copies, metadata={"schema": str(RUN_SCHEMA)})


def _job_order(path: Path) -> tuple[int, str]:
    return (int(path.name), "") if path.name.isdecimal() else (-1, path.name)


def _rows(job: Path) -> Iterator[dict[str, Any]]:
    """Rows of ``frame`` for the members of one job."""
    about = read_job(job) or {}
    sweep = paths.sweep_of(job)
    config = {
        key: ",".join(map(str, value)) if isinstance(value, list) else value
        for key, value in flat(read_config(job)).items()
        if "." in key
    }
    for seed, result in read_results(job).items():
        parameters = {
            name if name == "aggregated_dim" else f"params_{name}": count
            for name, count in (result.get("parameters") or {}).items()
        }
        metrics = {
            name: math.nan if value is None else float(value)
            for name, value in (result.get("metrics") or {}).items()
        }
        yield {
            "sweep": None if sweep is None else sweep.name,
            "job": int(job.name) if job.name.isdecimal() else job.name,
            "folder": str(paths.seed_folder(job, seed)),
            **about.get("labels", {}),
            **config,
            "job_key": about.get("job_key"),
            "member_key": result.get("member_key"),
            "seed": seed,
            **{k: result.get(k) for k in ("status", "reason", "steps", "best_step", "seconds")},
            **parameters,
            **metrics,
        }


def _refuse_difference(folder: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    have, want = flat(stored), flat(wanted)
    missing = "(not set)"
    lines = [
        f"  {key}: {have.get(key, missing)} there, {want.get(key, missing)} here"
        for key in sorted({*have, *want})
        if have.get(key, missing) != want.get(key, missing)
        and not (key in GROWING and key in have and key in want)
    ]
    if lines:
        raise UserError(
            "\n".join([f"{folder}: this name belongs to another sweep:", *lines])
            + f"\nkeep both with name={folder.name}-2"
        )
