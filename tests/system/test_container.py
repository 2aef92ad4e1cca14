"""Places as in a container: read-only, homeless, without a terminal, full, or hostile."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import container
from helpers.command import SMALL
from helpers.container import Container

pytestmark = pytest.mark.slow

TASK = ["-m", "head=simpler,conservative", "seeds=2", *SMALL, "name=g"]
ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
NOISE = ("warning", "Warning", "Traceback", "Matplotlib", "font", "error")


@pytest.fixture(scope="module")
def place() -> Iterator[Container]:
    """An installation that cannot be written, with a root X that a grid was trained into."""
    if reason := container.why_not():
        pytest.skip(reason)
    # Not below the folder of pytest, in which only its user may look.
    folder = Path(tempfile.mkdtemp(prefix="headsweep-container-"))
    folder.chmod(0o755)
    made = Container(folder)
    try:
        done = made.run("train", *TASK, "root=X", "tracking=true", **ASCII)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout.isascii()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


def members(root: Path) -> dict[str, dict[str, str]]:
    """Checksums of the files of every member below a root."""
    return {
        str(path.parent.relative_to(root)): json.loads(path.read_text())["files"]
        for path in root.glob("*/*/jobs/*/seed_*/result.json")
    }


def test_nothing_is_written_but_results_and_caches(place: Container) -> None:
    top = {path.name for path in place.outside.iterdir()}
    assert top == {"X", "tmp"}
    assert [path.name for path in (place.outside / "tmp").iterdir()] == [
        f"headsweep-{container.USER}"
    ]
    assert len(members(place.outside / "X")) == 4


def test_every_verb_works_without_a_word_of_caches(place: Container) -> None:
    verbs = (
        "report g --root X",
        "list --root X",
        "plan g --root X",
        "sync --root X",
        "params",
        "clean --root X",
        "data inspect data=tiny data.source.events=60 root=X",
        "data simulate new --events 20",
        "predict X/sweeps/g/jobs/0 new",
    )
    done = place.run_all(*verbs, **ASCII)
    assert [one.returncode for one in done] == [0] * len(verbs), done
    for one in done:
        assert one.stdout.isascii()
        assert not any(word in one.stderr for word in NOISE), one


HOSTILE = "open('{mark}', 'a').write(__name__)\nraise SystemExit('hostile')\n"


def test_files_in_the_current_folder_are_not_python_s(place: Container) -> None:
    folder = place.outside / "hostile"
    mark = place.work / "hostile/was-run"
    for name in ("random", "torch", "logging", "yaml", "sitecustomize", "usercustomize", "numpy/x"):
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(HOSTILE.format(mark=mark))
    (folder / "numpy/__init__.py").write_text(HOSTILE.format(mark=mark))
    for name in ("conf/head", "head", "sweeps"):
        (folder / name).mkdir(parents=True)
        (folder / name / "simpler.yaml").write_text("_target_: os.system\ncommand: id\n")
    task = " ".join(TASK)
    done = place.shell(f'cd hostile && "$H" train {task} root=Y tracking=true && "$H" list root=Y')
    assert done.returncode == 0, done.stderr
    assert "4 of 4 members are done" in done.stdout
    assert not (folder / "was-run").exists()
    assert members(folder / "Y") == members(place.outside / "X")


@pytest.mark.parametrize("where", ["gone", "closed"])
def test_a_current_folder_that_is_gone_or_closed(where: str, place: Container) -> None:
    make = (
        "mkdir w; cd w; rmdir ../w"
        if where == "gone"
        else "mkdir -p c&& chmod 700 c && cd c && chmod 0 ."
    )
    for verb in (f"train {' '.join(SMALL)}", "report g", "--version"):
        done = place.shell(f'{make}; "$H" {verb}')
        if verb == "--version":
            assert done.returncode == 0
        else:
            assert done.returncode == 2
            assert len(done.stderr.replace("\r", "\n").strip().splitlines()) == 1, done.stderr
            assert done.stderr.startswith("error: "), done.stderr


def test_a_root_that_may_only_be_read(place: Container) -> None:
    place.manage("mkdir R && mount --bind X R && mount -o remount,bind,ro R")
    assert place.run("list", "--root", "R").returncode == 0
    task = f"train {' '.join(SMALL)} seed=9 root=R"
    verbs = ("report g --root R", "sync --root R", task)
    done = place.run_all(*verbs, TMPDIR="/nowhere")
    assert [one.returncode for one in done] == [0, 2, 2], done
    for one in done:
        said = [line for line in one.stderr.splitlines() if not line.endswith("%")]
        assert len(said) == 1, one
        assert "may only be read" in said[0] or "Read-only" in said[0], one


def test_nothing_can_be_written_but_the_root(place: Container) -> None:
    """No folder for temporary files, either; a process of its own for MLflow is not possible."""
    done = place.shell('cd X && "$H" report g --root .', TMPDIR="/nowhere")
    assert done.returncode == 0, done.stderr
    assert not any(word in done.stderr for word in NOISE), done.stderr
    assert not list((place.outside / "X").glob("headsweep-*"))


def test_a_full_disk_loses_nothing(place: Container) -> None:
    """At first the data cache does not fit, then what comes after it."""
    place.manage("mkdir -p F; mount -t tmpfs -o size=120k,mode=777 none F")
    for size in ("700k", "20m"):
        done = place.run("train", *TASK, "root=F")
        assert done.returncode in (1, 2)
        said = [line for line in done.stderr.splitlines() if not line.endswith("%")]
        assert said
        assert all("the disk is full" in line and "F/" in line for line in said), done.stderr
        assert not list((place.outside / "F").rglob(".tmp-*"))
        place.manage(f"mount -o remount,size={size} F")
    done = place.run("train", *TASK, "root=F")
    assert done.returncode == 0, done.stderr
    assert members(place.outside / "F") == members(place.outside / "X")
    place.manage("umount F")
