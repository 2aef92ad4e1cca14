"""Run folders, the source of truth of every experiment: written atomically, read into tables.

A job folder holds ``config.yaml``, ``job.json``, ``progress.json`` and one ``seed_<s>`` folder for
each member. A seed folder counts only when it has a ``result.json``, which is written last and has
the checksum of every other file of the member. What does not match its checksum, or stands in the
place of another, is refused by name and never read; ``store/repair.py`` removes it before training.
Torch, pandas and filelock are imported where they are used, so that ``headsweep list`` is quick.
"""

import math
import secrets
import shlex
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headsweep.config.stored import check_stored
from headsweep.errors import DamagedError, UserError, reading, without_secrets
from headsweep.files import (
    MEND,
    checksum,
    flat,
    is_sealed,
    read_json,
    read_sealed,
    write_atomic,
    write_json,
    write_sealed,
)
from headsweep.identity import member_key
from headsweep.store import paths

if TYPE_CHECKING:
    import pandas as pd
    import torch

RUN_SCHEMA = 3
"""Version of ``job.json`` and ``result.json``; raised when their meaning changes."""


def write_job(folder: Path, config: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    """Write ``config.yaml`` (resolved, all keys, no secrets) and ``job.json`` of a job folder."""
    write_sealed(folder / paths.CONFIG, config, bound=job.get("job_key", ""))
    write_sealed(folder / paths.JOB, {"schema": RUN_SCHEMA, **job})


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
        predictions: Columns of ``tracks.Tracks`` on the validation split, one row a track.
    """
    (folder / paths.RESULT).unlink(missing_ok=True)
    files = {}
    if history is not None:
        files[paths.HISTORY] = history.to_csv(index=False).encode()
    for name, tensors in ((paths.WEIGHTS, weights), (paths.LAST_WEIGHTS, last_weights)):
        if tensors is not None:
            files[name] = _weights_bytes(tensors)
    if predictions is not None:
        buffer = BytesIO()
        predictions.to_parquet(buffer, index=False)
        files[paths.PREDICTIONS] = buffer.getvalue()
    for name, content in files.items():
        write_atomic(folder / name, content)
    sums = {name: checksum(content) for name, content in files.items()}
    write_sealed(folder / paths.RESULT, {"schema": RUN_SCHEMA, **result, "files": sums})


def open_file(folder: Path, name: str) -> BytesIO:
    """A file of a member, such as its history.

    Args:
        folder: The seed folder.
        name: Of the file.

    Raises:
        DamagedError: The file is missing, or is not the one that this training wrote.
    """
    path, result = folder / name, read_result(folder)
    if result is None:
        raise DamagedError(f"{folder}: no {paths.RESULT}; {MEND}")
    try:
        with reading(path, MEND):
            content = path.read_bytes()
    except FileNotFoundError:
        raise DamagedError(f"{path}: missing; {MEND}") from None
    if result["files"].get(name) != checksum(content):
        raise DamagedError(
            f"{path}: damaged or of another training, its checksum is not that in {paths.RESULT}; "
            f"{MEND}"
        )
    return BytesIO(content)


def load_weights(path: Path) -> "dict[str, torch.Tensor]":
    """Tensors of a member's ``safetensors`` file, on the CPU.

    Raises:
        DamagedError: The file is missing, or is not the one that this training wrote.
    """
    from safetensors.torch import load

    return load(open_file(path.parent, path.name).getvalue())


def read_result(folder: Path) -> dict[str, Any] | None:
    """``result.json`` of a seed folder, or None where the member is not complete.

    Raises:
        UserError: It is damaged, or was written by another version of headsweep.
    """
    return _read_versioned(folder / paths.RESULT)


def read_job(folder: Path) -> dict[str, Any] | None:
    """``job.json`` of a job folder, or None where it is missing.

    Raises:
        UserError: It is damaged, or was written by another version of headsweep.
    """
    return _read_versioned(folder / paths.JOB)


def finished_seconds(folder: Path) -> dict[int, float]:
    """Seconds of each finished member of a job, by seed; they trained together."""
    results = read_results(folder).items()
    return {seed: r["seconds"] or 0.0 for seed, r in results if r["status"] == "finished"}


def read_history(folder: Path) -> "pd.DataFrame":
    """``history.csv`` of a seed folder: one row for each evaluation.

    Raises:
        UserError: It is missing or damaged.
    """
    import pandas as pd

    return pd.read_csv(open_file(folder, paths.HISTORY)).astype(float)


def read_predictions(folder: Path) -> dict[str, Any]:
    """Columns of ``tracks.Tracks`` on the validation split, as training wrote them.

    Raises:
        UserError: They are missing or damaged.
    """
    import pandas as pd

    columns = pd.read_parquet(open_file(folder, paths.PREDICTIONS))
    return {str(name): columns[name].to_numpy() for name in columns}


def read_results(folder: Path, about: Mapping[str, Any] | None = None) -> dict[int, dict[str, Any]]:
    """Results of all complete members of a job, by seed in rising order.

    Args:
        folder: The job folder.
        about: Its ``job.json``, where that has been read.

    Raises:
        UserError: A result is damaged, of another job or seed, or of another version of headsweep.
    """
    found = {seed: read_result(path) for seed, path in paths.seed_folders(folder).items()}
    results = {seed: result for seed, result in found.items() if result}
    key = (about or read_job(folder) or {}).get("job_key") if results else None
    for seed, result in results.items():
        if key is not None and result.get("member_key") != member_key(key, seed):
            path = paths.seed_folder(folder, seed)
            raise DamagedError(f"{path}: is the member of another job or seed; {MEND}")
    return results


def last_end(results: Iterable[Mapping[str, Any]]) -> float | None:
    """Time at which the last of some members ended, as recorded, seconds since the epoch.

    Times of files change with every copy. None where none has such a record.
    """
    return max((float(end) for r in results if (end := r.get("ended"))), default=None)


def read_config(folder: Path) -> dict[str, Any]:
    """``config.yaml`` of a job folder.

    Raises:
        UserError: It is missing, damaged, or of another job.
    """
    about = read_job(folder)
    if about is None:
        raise DamagedError(f"{folder / paths.JOB}: missing; {MEND}")
    config = read_sealed(folder / paths.CONFIG, bound=about.get("job_key", ""))
    if config is None:
        raise DamagedError(f"{folder / paths.CONFIG}: missing; {MEND}")
    try:
        check_stored(config)  # a checksum does not say who wrote it
    except UserError as error:
        raise DamagedError(f"{folder / paths.CONFIG}: {error}; {MEND}") from None
    return config


def write_progress(folder: Path, progress: Mapping[str, Any]) -> None:
    """Write ``progress.json``, for the live display only: not waiting for the disk."""
    write_json(folder / paths.PROGRESS, progress, sync=False)


def read_progress(folder: Path) -> dict[str, Any] | None:
    """``progress.json`` of a job folder, or None before its first one."""
    return read_json(folder / paths.PROGRESS)


def read_spec(folder: Path) -> dict[str, Any]:
    """``spec.yaml`` of a sweep folder; empty for every other folder.

    Hydra's own sweepers have none, nor do they have the other files of a sweep.

    Raises:
        DamagedError: It is damaged, or missing beside what our workers have left.
    """
    spec = read_sealed(folder / paths.SPEC)
    if spec is None and any((folder / name).exists() for name in (paths.COMMAND, paths.LOGS)):
        raise DamagedError(f"{folder / paths.SPEC}: missing; {MEND}")
    return spec or {}


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
    """The last command line of a sweep, with the root where it lies now; or words for it."""
    path = folder / paths.COMMAND
    try:
        with reading(path, "delete it; the sweep's next command writes it anew"):
            text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    try:
        words = shlex.split(text) if text.endswith("\n") else []  # the last byte that is written
    except ValueError:  # a quotation without end
        words = []
    if not words:
        return f"its train command ({path} is damaged)"
    kept = [word for word in words[2:] if not word.startswith("root=")]
    return paths.command("train", folder.parents[1], *kept)


def find_jobs(folder: Path) -> list[Path]:
    """Job folders below a root, ``root/runs`` or a sweep, or the one given.

    Sweeps come by name, jobs by number.
    """
    if _is_job(folder):
        return [folder]
    of_sweeps = [path / paths.JOBS for path in (folder, *paths.sweep_folders(folder))]
    return [
        job
        for parent in (folder, *of_sweeps, folder / paths.RUNS)
        for job in sorted(parent.glob("*"), key=_job_order)
        if _is_job(job) and (parent.name != paths.JOBS or job.name.isdecimal())
    ]


def _is_job(folder: Path) -> bool:
    """True also where ``job.json`` is lost beside members, which every reader then refuses."""
    return (folder / paths.JOB).is_file() or any(paths.seed_folders(folder))


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


def _read_versioned(path: Path) -> dict[str, Any] | None:
    try:
        value = read_sealed(path)
    except DamagedError:
        value = None if is_sealed(path) else read_json(path)  # older versions have no seal
        if value is None or value.get("schema") == RUN_SCHEMA:
            raise
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
