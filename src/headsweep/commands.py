"""Verbs of the command line, declared for typer."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headsweep.store import paths
from headsweep.store.paths import DEFAULT_ROOT

if TYPE_CHECKING:
    from headsweep.sweep.compose import Job

app = typer.Typer(
    help="Which regression head to put on a frozen hit transformer: train, compare, report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Simulate, look at, check and convert data.", no_args_is_help=True)
app.add_typer(data, name="data")

Name = Annotated[
    str, typer.Argument(help="Name of a sweep, key of a single run, or the path of its folder.")
]
SweepName = Annotated[str, typer.Argument(help="Name of a sweep, or the path of its folder.")]
Run = Annotated[
    str, typer.Argument(help="Folder of a job, such as a sweep's jobs/0; or key of a run.")
]
Root = Annotated[Path, typer.Option(help="The folder of all output.")]
TrackingUri = Annotated[
    str | None, typer.Option(help="Of an MLflow server; else the database below the root.")
]
Allow = Annotated[list[str] | None, typer.Option(help="Module of your own that may run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Overrides as for train: data=acts data.source.path=FOLDER"),
]
ConfigDir = Annotated[
    str | None, typer.Option("--config-dir", "-cd", help="One more folder of configuration.")
]
OwnRoot = Annotated[
    str | None, typer.Option("--root", help="The folder of all output, as root=FOLDER.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an older file.")]


def _version(asked: bool) -> None:
    if asked:
        from headsweep.store.code_version import code_version

        print(f"headsweep {code_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print it.")
    ] = False,
) -> None:
    """Options of no verb."""


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def train(context: typer.Context) -> None:
    """Train one configuration, or several: sweeps=NAME, -m key=a,b, --dry-run, --cfg job."""
    from headsweep.sweep import entry

    raise typer.Exit(entry.train(context.args))


@data.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Where to write; must not exist.")],
    events: Annotated[
        int | None, typer.Option(help="Number of events; else as data=spectrometer.", min=1)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of all randomness; else as data=spectrometer.", min=0)
    ] = None,
) -> None:
    """Simulate muons in the spectrometer and write them in the ATLAS-muon HDF5 layout."""
    from headsweep.events.spectrometer import write_sample

    write_sample(folder, events, seed)
    _print_use(folder, "data=hepattn", "data.source.path")


@data.command()
def inspect(
    overrides: Overrides = None, config_dir: ConfigDir = None, root: OwnRoot = None
) -> None:
    """Read a source and print what is in it."""
    from headsweep.features.truth_check import summarise
    from headsweep.sweep.inputs import find_source, read_events

    job = _compose(overrides, config_dir, root)
    events = read_events(job)
    print("\n".join(summarise(events, find_source(job).plane)))


@data.command()
def validate(
    overrides: Overrides = None, config_dir: ConfigDir = None, root: OwnRoot = None
) -> None:
    """Read a source as a training would; an error names file, event and column."""
    from headsweep.features.extract import check_recorded, split_parts
    from headsweep.sweep.inputs import find_backbone, find_source, read_events

    job = _compose(overrides, config_dir, root)
    events, used = read_events(job), job.config
    asked = (used.features.name, used.data.split, used.data.selection)
    parts, counted = split_parts(events, find_source(job), *asked)
    threshold, folder = used.features.assignment_threshold, Path(used.root)
    check_recorded(find_backbone(job), parts, counted, threshold, folder)
    shares = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
    print(f"valid: {len(events):,} events ({shares})")


@data.command()
def convert_acts(
    source: Annotated[Path, typer.Argument(help="Folder with the CSV files of Acts.")],
    target: Annotated[Path, typer.Argument(help="Folder of Parquet tracks to write.")],
) -> None:
    """Make a folder of Parquet tracks from the hits and particles of an Acts simulation."""
    from headsweep.events.acts_csv import convert

    convert(source, target)
    _print_use(target, "data=acts", "data.source.path")


@app.command()
def backbone(
    checkpoint: Annotated[Path, typer.Argument(help="The file to write.")],
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(help="Batches of 64 events.", min=1)] = 6000,
    seed: Annotated[int, typer.Option(help="Of weights and batches.", min=0)] = 0,
    config_dir: ConfigDir = None,
    root: OwnRoot = None,
    force: Force = False,
) -> None:
    """Train a hit transformer on the training split of a source; takes minutes."""
    from headsweep.files import check_output
    from headsweep.sweep.inputs import train_backbone

    check_output(checkpoint, force)
    job = _compose(overrides, config_dir, root)
    command = shlex.join(["headsweep", *sys.argv[1:]])
    print(train_backbone(job, checkpoint, steps=steps, seed=seed, command=command))
    _print_use(checkpoint, "backbone.checkpoint")


@app.command(name="import")
def import_(
    config: Annotated[Path, typer.Argument(help="YAML of a hepattn model, or of its tasks.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Its .ckpt: the shapes decide; no class is loaded.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write conf/head/NAME.yaml, for head=NAME.")
    ] = None,
    force: Force = False,
) -> None:
    """Print the overrides that train the regression head of a hepattn model."""
    from headsweep.hepattn.importing import print_import

    print_import(config, checkpoint, save, force)


@app.command()
def export(
    run: Run,
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist.")],
    seed: Annotated[int | None, typer.Option(help="Which seed; else the first.")] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Write a trained head for hepattn, as plain torch and as ONNX."""
    from headsweep.hepattn.export import export

    print("\n".join(export(root, run, out, seed)))


@app.command()
def params(as_json: Json = False) -> None:
    """Count the parameters of every preset, and of the document's "before"."""
    from headsweep.sweep.dry_run import preset_parameters
    from headsweep.terminal import print_table

    counts = preset_parameters()
    if as_json:
        print(json.dumps(counts, indent=1))
        return
    rows = [[name, *(f"{count:,}" for count in row.values())] for name, row in counts.items()]
    print_table(["preset", *(name.replace("_", " ") for name in counts["before"])], rows)


@app.command()
def report(
    name: Name,
    metric: Annotated[
        str | None, typer.Option(help="Show this metric, too: a look, without a verdict.")
    ] = None,
    root: Root = DEFAULT_ROOT,
    tracking_uri: TrackingUri = None,
    as_json: Json = False,
    allow: Allow = None,
) -> None:
    """Score a sweep's saved weights; write and print tables and pictures.

    On the split dev; of a confirmation on test, and the ledger then says so.
    """
    from headsweep.report.run import make_report

    found, folder = make_report(root, name, tracking_uri, metric, allow)
    if as_json:
        print(found.to_json(), end="")
    else:
        from headsweep.report.render.write import print_report

        print_report(found, metric=metric)
        if folder is not None:
            print(f"written to {folder}")


@app.command()
def predict(
    run: Run,
    data: Annotated[
        Path, typer.Argument(help="Events, with truth or without, in the layout of the training.")
    ],
    out: Annotated[Path, typer.Option(help="Where to write.")] = Path("predictions.parquet"),
    force: Force = False,
    root: Root = DEFAULT_ROOT,
    allow: Allow = None,
) -> None:
    """Apply the trained heads of a job to other events, and write their tracks.

    True tracks are matched as in training: those are written that the backbone found and that pass
    the training's selection. Without truth (no particles.parquet, or num_tracks 0 everywhere) the
    tracks are those that the backbone calls valid, and there is no metric. The configuration is the
    job's own: --config-dir is not needed, modules of your own are named with --allow.
    """
    from headsweep.report.predict import predict

    predict(root, run, data, out, force, allow)


@app.command()
def study(name: SweepName, root: Root = DEFAULT_ROOT) -> None:
    """Show how far a search is, its best trials, what failed and why, and how to go on."""
    from headsweep.sweep.search.status import print_study

    print_study(root, name)


@app.command()
def plan(
    name: SweepName,
    metric: Annotated[
        str | None, typer.Option(help="What to compare; else the first of the design.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Largest change that does not matter: 0.05 is 5%, of a rate 5 points."),
    ] = None,
    workers: Annotated[int, typer.Option(help="How many train side by side.", min=1)] = 2,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
    allow: Allow = None,
) -> None:
    """Say how many seeds a verdict takes, and how long, from the spread of a pilot."""
    from headsweep.report.plan import print_plan

    print_plan(root, name, metric, margin, workers, as_json, allow)


@app.command()
def why(
    name: Annotated[str, typer.Argument(help="Name of a finished search.")],
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    root: OwnRoot = None,
) -> None:
    """Say why a search's best trial won: train the steps from a preset to it, and compare them."""
    from headsweep.report.why import explain

    raise typer.Exit(explain(name, overrides or [], config_dir, root))


@app.command()
def diff(first: Run, second: Run, root: Root = DEFAULT_ROOT, as_json: Json = False) -> None:
    """Show two jobs side by side: the settings and the figures on val that differ."""
    from headsweep.report.diff import print_differences

    print_differences(root, first, second, as_json)


@app.command("list")
def list_sweeps(root: Root = DEFAULT_ROOT, as_json: Json = False) -> None:
    """List the sweeps and single runs below a root: their state, size and question."""
    from headsweep.store.cleanup import summarise_root
    from headsweep.terminal import print_table

    found = summarise_root(root)
    if as_json:
        print(json.dumps([vars(s) for s in found], indent=1))
        return
    if not found:
        print(f"no sweep and no single run below {root}")
        return
    heads = ["sweep or run", "jobs done", "members", "failed", "size", "last result"]
    rows = [s.cells() for s in found]
    print_table([*heads, "question, or what it sets"], rows, words=(0, 6))
    print("".join(s.why() for s in found), end="")


@app.command()
def clean(
    root: Root = DEFAULT_ROOT,
    sweep: Annotated[str | None, typer.Option(help="Remove this sweep and its results.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it without a question.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even while it is trained.")] = False,
) -> None:
    """Remove caches that no run uses and what broken runs left behind; results stay."""
    from headsweep.store.cleanup import remove_unused
    from headsweep.terminal import file_size

    if sweep is not None:
        from headsweep.sweep.removal import check_removal

        root, sweep = paths.locate(root, sweep)
        check_removal(root, sweep, yes, force)
    print(f"freed {file_size(remove_unused(root, sweep))}")


@app.command()
def sync(
    name: Annotated[
        str | None, typer.Argument(help="Name of a sweep, or key of a single run; else all.")
    ] = None,
    root: Root = DEFAULT_ROOT,
    tracking_uri: TrackingUri = None,
) -> None:
    """Bring MLflow in line with the run folders; may be repeated at any time."""
    from headsweep.store.tracking.sync import sync_all

    if name is not None:
        root, name = paths.locate(root, name)
    names = sync_all(root, name, tracking_uri)
    print(f"in MLflow: {', '.join(names) if names else 'nothing yet'}")


@app.command()
def worker(name: SweepName, root: Root = DEFAULT_ROOT) -> None:
    """Train for the command of a sweep, on any machine; for batch systems."""
    from headsweep.sweep.attendant import attend_here

    attend_here(root, name)


@app.command()
def ui(
    root: Root = DEFAULT_ROOT,
    port: Annotated[int, typer.Option(help="Where to listen.", min=1, max=65535)] = 5000,
) -> None:
    """Show all runs in MLflow on 127.0.0.1, until Ctrl-C."""
    from headsweep.store.tracking.server import serve

    serve(root, port)


def verbs() -> list[str]:
    """Names of all verbs, for tab completion."""
    return list(typer.main.get_group(app).commands)


def _compose(overrides: list[str] | None, config_dir: str | None, root: str | None) -> "Job":
    """The configuration that the overrides choose."""
    from headsweep.sweep.overrides import as_override
    from headsweep.sweep.plan import make_plan

    own = [] if root is None else [as_override("root", root)]
    return make_plan([*(overrides or []), *own], multirun=False, config_dir=config_dir).jobs[0]


def _print_use(made: Path, *words: str) -> None:
    """Say how ``train`` takes what was made; the last word is the key of its path."""
    from headsweep.sweep.overrides import as_override

    print(f"{made}: use it with {shlex.join([*words[:-1], as_override(words[-1], str(made))])}")
