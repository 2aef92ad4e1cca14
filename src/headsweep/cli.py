"""Entry point of the command ``headsweep``: its exit codes, and the shortcut to ``train``.

``commands.py`` declares the verbs. Each imports only what it needs.
"""

import atexit
import codecs
import gc
import os
import shlex
import shutil
import signal
import stat
import sys
import tempfile
import traceback
from contextlib import suppress
from io import TextIOWrapper
from typing import NoReturn

from headsweep.errors import UserError, from_outside, reason

TRACEBACK = "HEADSWEEP_TRACEBACK"
"""Variable of the environment that shows the traceback of every error, as ``--debug`` does."""

CACHES = {"MPLCONFIGDIR": "matplotlib", "NUMBA_CACHE_DIR": "numba"}
"""Variables that say where libraries keep what they have compiled and looked up."""

_IN_ASCII = {"±": "+-", "–": "-", "…": "...", "≤": "<=", "≥": ">=", "×": "x", "→": "->"}
_IN_ASCII |= {"↑": "^", "↓": "v", "²": "^2", "†": "+"}
"""How signs of tables are written where the output cannot have them; `?` means there is none."""


def main() -> None:
    """Run a verb. An error is one line on stderr; the traceback of a fault of ours is kept."""
    # With torch loaded, Python's last collection takes 0.6 s, for nothing (`headsweep params`:
    # 3.1 s of processor time instead of 3.8). Collecting less before saves nothing measurable.
    atexit.register(gc.freeze)
    # Batch systems send it before they kill: it is treated as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "--debug" in sys.argv[1:]:
        sys.argv.remove("--debug")
        os.environ[TRACEBACK] = "1"
    _open_streams()
    # All processes that are started inherit it: else Python would take a random.py in the folder
    # where the user is for its own. What stands in PYTHONPATH is found as before.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    _find_home()
    try:
        try:
            _run(sys.argv[1:])
        finally:
            _flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        _discard_output()  # the reader, such as `head`, has gone
        sys.exit(141)
    except Exception as error:
        sys.exit(_explain(error))


def _open_streams() -> None:
    """Make sure that all three standard streams are there and take every letter.

    A closed one is the null device: its number would go to the next file that is opened.
    """
    for number, mode in enumerate("rww"):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
            name = ("stdin", "stdout", "stderr")[number]
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    codecs.register_error("headsweep", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace" if stream is sys.stderr else "headsweep")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Other letters for those that an output cannot have, as Python's codecs ask for them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(letter, "?") for letter in letters), error.end


def _find_home() -> None:
    """Give the caches of libraries a place where no home can be written, as in containers.

    All processes that are started inherit it. MLflow is not even imported without a home.
    """
    home = os.path.expanduser("~")
    if os.path.isabs(home) and os.access(home, os.W_OK | os.X_OK):
        return
    place = _own_folder()
    for variable, name in CACHES.items():
        os.environ.setdefault(variable, os.path.join(place, name))
    if not os.path.isabs(home):
        os.environ["HOME"] = place


def _own_folder() -> str:
    """A folder for temporary files that this user alone may write, the same for every command.

    Numba runs what it finds there. Without a proper place for it, it is removed after the command.
    """
    try:
        temporary, here = tempfile.gettempdir(), os.getcwd()
    except FileNotFoundError:  # nothing can be written, or there is no folder to work in
        return "/nonexistent"
    if temporary != here:
        place = os.path.join(temporary, f"headsweep-{os.getuid()}")
        with suppress(FileExistsError):
            os.mkdir(place, 0o700)
        found = os.lstat(place)
        private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
        if private and found.st_uid == os.getuid():
            return place
    place = tempfile.mkdtemp(prefix="headsweep-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def _flush() -> None:
    """Write what was printed while an error of that can still be said.

    Raises:
        UserError: It cannot be written.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise UserError(f"standard output cannot be written ({reason(error)})") from None


def _discard_output() -> None:
    """Write what is left to nowhere; Python would complain again when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: Exception) -> int:
    """Say an error on stderr; returns the exit code: 2 of the user's, 3 of a fault of ours."""
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    known = from_outside(error)
    if known is not None:
        print(f"error: {known}", file=sys.stderr)
        return 2
    what = f"{type(error).__name__}: {reason(error)}"
    print(f"error: this is a fault of headsweep: {what}, {_keep_traceback(error)}", file=sys.stderr)
    return 3


def _keep_traceback(error: Exception) -> str:
    """Write the traceback into a file, or show it where none can be; says where it is."""
    text = f"{shlex.join(sys.argv)}\n{''.join(traceback.format_exception(error))}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="headsweep-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError:
        print(text, file=sys.stderr)
        return "the traceback is above; please report it"
    return f"the traceback is in {file.name}; please report it"


def _run(argv: list[str]) -> NoReturn:
    """Run a verb; ends with its exit code."""
    match argv:
        case ["train", *arguments]:
            # Without typer, which would take 0.12 s beside the 0.38 s of `train --cfg job`.
            from headsweep.sweep.entry import train

            sys.exit(train(arguments))
        case [("-sc" | "--shell-completion"), *_]:
            sys.exit(_complete(argv))
        case _:
            from headsweep.commands import app

            sys.exit(app(args=[_root_option(argument) for argument in argv]))


def _root_option(argument: str) -> str:
    """``root=X`` as the option ``--root=X``, so that a verb takes both; others as they are."""
    name, _, text = argument.partition("=")
    if name not in ("root", "--root") or argument == "--root":
        return argument
    if not text:
        raise UserError(f"{argument}: the folder is missing, as in root=FOLDER")
    if name == "root" and text[0] in "'\"":  # as the hints of `train` show it
        from headsweep.sweep.overrides import parse

        text = str(parse([argument])[0].value())
    return f"--root={os.path.expanduser(text)}"


def _complete(argv: list[str]) -> int:
    """Print what completes a word: a verb, a name, or behind ``train`` what Hydra proposes."""
    line = os.environ.get("COMP_LINE")
    if line is not None:
        words = line.split()
        open_word = "" if line.endswith(" ") else words.pop()
        if len(words) == 1:
            from headsweep.commands import verbs

            print(" ".join(verb for verb in verbs() if verb.startswith(open_word)))
            return 0
        if words[1] != "train":
            from headsweep.sweep.completion import names

            print(" ".join(name for name in names(words[1:]) if name.startswith(open_word)))
            return 0
        known = [word for word in words[2:] if word != "--dry-run"]
        os.environ["COMP_LINE"] = " ".join([words[0], *known, open_word])
    from headsweep.sweep.hydra_app import start

    start(argv)
    return 0
