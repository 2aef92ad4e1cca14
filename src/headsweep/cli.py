"""Entry point of the command ``headsweep``.

Each verb imports only what it needs: ``headsweep train --cfg job`` costs what a bare Hydra
application costs.
"""

import atexit
import gc
import os
import signal
import sys

from headsweep.errors import UserError

VERBS = (
    "train",
    "data",
    "backbone",
    "params",
    "report",
    "study",
    "plan",
    "predict",
    "list",
    "clean",
    "sync",
    "ui",
)


def main() -> None:
    """Run a verb; what the user can mend is said in one line, without a traceback."""
    # With torch loaded, Python's last collection takes most of a second, for nothing.
    atexit.register(gc.freeze)
    # What a batch system sends before it kills is treated as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(_run(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader, such as `head`, has gone; Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    finally:
        gc.enable()


def _run(argv: list[str]) -> int:
    match argv:
        case ["train", *arguments]:
            gc.disable()  # saves a tenth of `--cfg job`; on again before anything long begins
            from headsweep.sweep.entry import train

            return train(arguments)
        case [("-sc" | "--shell-completion"), *_]:
            return _complete(argv)
        case _:
            from headsweep.commands import app

            app()
            return 0


def _complete(argv: list[str]) -> int:
    """Tab completion: of the verbs here, behind ``train`` by Hydra, which knows no verbs."""
    line = os.environ.get("COMP_LINE")
    if line is not None:
        words = line.split()
        open_word = "" if line.endswith(" ") else words.pop()
        if len(words) == 1:
            print(" ".join(verb for verb in VERBS if verb.startswith(open_word)))
            return 0
        if words[1] != "train":
            return 0
        known = [word for word in words[2:] if word != "--dry-run"]
        os.environ["COMP_LINE"] = " ".join([words[0], *known, open_word])
    from headsweep.sweep.hydra_app import start

    start(argv)
    return 0
