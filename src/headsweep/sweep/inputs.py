"""Inputs of a job: its source of events, its frozen transformer, its cached features.

Torch is imported where it is used, so that ``--cfg job`` and ``--help`` are quick.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headsweep.errors import UserError, without_secrets
from headsweep.files import cache_folder
from headsweep.identity import own_width, run_key
from headsweep.instantiate import code_digests, make, own_code, own_targets
from headsweep.store.members import fresh_seed, used_seeds
from headsweep.store.names import free_name

if TYPE_CHECKING:
    from headsweep.backbone.base import Backbone, Progress
    from headsweep.events.base import Events, Source
    from headsweep.features.cache import FeatureSet
    from headsweep.sweep.compose import Job


DEVICES = ("cpu", "cuda", "mps", "xpu")
"""Kinds of devices on which torch trains; others, such as ``meta``, it knows for other ends."""


@dataclass(frozen=True)
class Inputs:
    """Source and backbone of a job, and the keys that identify them.

    Attributes:
        source: The events.
        backbone: The frozen transformer, or its stand-in.
        data_key: Key of the source.
        checkpoint: Key of the backbone.
        job_key: Key of the job.
        code: Source text of the user's own modules that the job builds from, by module.
    """

    source: "Source"
    backbone: "Backbone"
    data_key: str
    checkpoint: str
    job_key: str
    code: dict[str, str] = field(default_factory=dict)


def find_inputs(job: "Job") -> Inputs:
    """Source, backbone and keys of a job; reads no events and writes nothing.

    Raises:
        UserError: A file that the configuration names is missing or is not what it should be, or
            the backbone was trained on events of another split of the same data.
    """
    source = find_source(job)
    backbone = find_backbone(job)
    data_key, checkpoint = source.key(), backbone.key()
    facts = getattr(backbone, "facts", {})  # a backbone of a user's own may know none
    if facts.get("data_key") == data_key and facts.get("split") != asdict(job.config.data.split):
        raise UserError(
            f"backbone: it was trained on events of these very data (key {data_key}) under another "
            "data.split, so some that it knows would be among those that judge it; use other "
            "events, or train one with `headsweep backbone` and this data.split"
        )
    code = own_code(*own_targets(job.resolved))
    network = with_width(job.resolved)
    return Inputs(
        source=source,
        backbone=backbone,
        data_key=data_key,
        checkpoint=checkpoint,
        job_key=run_key(network, data_key, checkpoint, code_digests(code)),
        code=code,
    )


def with_width(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration with the width that its hidden layers have, where it is null.

    Two spellings of one network are then one job, and one point of a search.
    """
    head = resolved["head"]
    if not own_width(head):
        return {**resolved}
    from headsweep.config import PoolingConfig
    from headsweep.training.pooling import aggregated_dim
    from headsweep.training.targets import estimate_dim

    backbone: Backbone = _make(json.dumps(resolved["backbone"]))
    pooling, estimate = PoolingConfig(**resolved["pooling"]), estimate_dim(resolved)
    width = aggregated_dim(pooling, backbone.dim, estimate) // 2
    return {**resolved, "head": {**head, "regression_hidden_dim": width}}


def find_source(job: "Job") -> "Source":
    """The source of a job's events."""
    source: Source = _make(json.dumps(job.resolved["data"]["source"]))
    return source


def find_backbone(job: "Job") -> "Backbone":
    """The backbone of a job."""
    backbone: Backbone = _make(json.dumps(job.resolved["backbone"]))
    return backbone


def read_events(job: "Job") -> "Events":
    """The events of a job's source, as a training reads them; says which are left out.

    Raises:
        DataError: They cannot be used.
    """
    from headsweep.events.gate import describe
    from headsweep.features.truth_check import load_events
    from headsweep.terminal import console, preparing

    with preparing(console(stderr=True)) as report:
        report("events are read and checked", 0.0)
        events = load_events(find_source(job), Path(job.config.root))
    if events.left_out:
        print(f"left out: {describe(events.left_out)}")
    return events


@lru_cache(maxsize=8)
def _make(node: str) -> Any:
    """Build a node once for all jobs of a grid that share it."""
    return make(json.loads(node))


def check_device(name: str) -> None:
    """Refuse a device that torch cannot use here.

    Raises:
        UserError: The message says why torch refuses it.
    """
    if name == "cpu":
        return
    import torch

    try:
        known = name.partition(":")[0] in DEVICES and bool(torch.device(name))
    except RuntimeError:  # its message is a list of twenty
        known = False
    if not known:
        raise UserError(
            f"device={name}: no such device; a GPU is cuda, the second one cuda:1, and cpu works "
            "everywhere"
        )
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise UserError(f"device={name}: {reason}; device=cpu works everywhere") from error


def check_test(jobs: "Sequence[Job]", inputs: Sequence[Inputs]) -> None:
    """Refuse data without a test split for a report that reads it.

    Raises:
        UserError: A job's data have none; the message says how to set one aside.
    """
    from headsweep.events.base import has_test

    for job, found in zip(jobs, inputs, strict=True):
        if not has_test(found.source, job.config.data.split):
            own = getattr(found.source, "splits", None) is not None
            mend = "give data.source.test" if own else "search and confirm with data.split.test=0.2"
            raise UserError(
                f"data.split.test: these data have no test split to confirm on; {mend}, and "
                "without data.split.folds; claims can read dev, design.split=dev"
            )


def check_fresh(folder: Path, root: Path, keys: Sequence[str], seeds: range) -> None:
    """Refuse seeds that any run has used for these jobs: a confirmation takes others.

    Args:
        folder: Of the confirmation, whose own runs do not count.
        root: The folder of all output.
        keys: Of all jobs.
        seeds: Those of the confirmation.

    Raises:
        UserError: The message says which.
    """
    used = used_seeds(root, keys)
    others = {s: [j for j in jobs if not j.is_relative_to(folder)] for s, jobs in used.items()}
    for seed in seeds:
        if others.get(seed):
            # A sweep that is there keeps its first seed.
            new = f"name={free_name(root, folder.name)} " if folder.exists() else ""
            raise UserError(
                f"seed={seeds[0]}: {others[seed][0]} has trained one of these configurations with "
                f"seed {seed}; a confirmation needs fresh ones: add "
                f"{new}seed={fresh_seed(used, seeds)}"
            )


def feature_folder(job: "Job", inputs: Inputs) -> Path:
    """Folder of the cache of a job's frozen features, whether it is there or not."""
    from headsweep.features.extract import cache_key

    data, what = job.config.data, job.config.features
    key = cache_key(inputs.source, inputs.backbone, data.split, what, data.selection)
    return cache_folder(Path(job.config.root), "features") / key


def build_features(job: "Job", inputs: Inputs, progress: "Progress | None" = None) -> "FeatureSet":
    """The frozen features of a job, from the cache or made now.

    Raises:
        DataError: The events cannot be used.
    """
    from headsweep.features.extract import build

    config = job.config
    return build(
        inputs.source,
        inputs.backbone,
        config.data.split,
        config.features,
        Path(config.root),
        progress,
        config.data.selection,
    )


def train_backbone(job: "Job", checkpoint: Path, *, steps: int, seed: int, command: str) -> str:
    """Train a hit transformer on the training split of a job's source.

    Args:
        job: Its source, split, threshold and threads are used.
        checkpoint: The file to write.
        steps: Batches of 64 events.
        seed: Of weights and batches.
        command: The command, kept in the file without its secrets.

    Returns:
        How well it finds hits, in words.

    Raises:
        DataError: The events cannot be used; as a training of heads says it.
        UserError: See ``train_checkpoint``.
    """
    import torch

    from headsweep.backbone.training import train_checkpoint
    from headsweep.features.truth_check import load_events
    from headsweep.terminal import console, preparing

    torch.set_num_threads(job.config.threads)  # another number gives other last bits
    threshold = job.config.features.assignment_threshold
    source = find_source(job)
    with preparing(console()) as progress:
        progress("events are read and checked", 0.0)
        model = train_checkpoint(
            load_events(source, Path(job.config.root)),
            source.key(),
            job.config.data.split,
            checkpoint,
            steps=steps,
            seed=seed,
            threshold=threshold,
            command=without_secrets(command),
            progress=progress,
        )
    found = ", ".join(f"{name} {model.facts[name]:.2%}" for name in ("purity", "efficiency"))
    return f"{checkpoint}: {found} at threshold {threshold}"
