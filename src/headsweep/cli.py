"""Entry point of the command ``headsweep``: its exit codes, and the shortcut to ``train``.

``commands.py`` declares the verbs. Each imports only what it needs.
"""

import atexit
import gc
import os
import signal
import sys

from headsweep.errors import UserError


def main() -> None:
    """Run a verb. An error that the user can mend is one line on stderr, without a traceback."""
    # With torch loaded, Python's last collection takes 0.6 s, for nothing (`headsweep params`:
    # 3.1 s of processor time instead of 3.8). Collecting less before saves nothing measurable.
    atexit.register(gc.freeze)
    # Batch systems send it before they kill: it is treated as Ctrl-C.
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


def _run(argv: list[str]) -> int:
    match argv:
        case ["train", *arguments]:
            # Without typer, which would take 0.12 s beside the 0.38 s of `train --cfg job`.
            from headsweep.sweep.entry import train

            return train(arguments)
        case [("-sc" | "--shell-completion"), *_]:
            return _complete(argv)
        case _:
            from headsweep.commands import app

            app()
            return 0


def _complete(argv: list[str]) -> int:
    """Print what completes a word: a verb, or behind ``train`` what Hydra proposes."""
    line = os.environ.get("COMP_LINE")
    if line is not None:
        words = line.split()
        open_word = "" if line.endswith(" ") else words.pop()
        if len(words) == 1:
            from headsweep.commands import verbs

            print(" ".join(verb for verb in verbs() if verb.startswith(open_word)))
            return 0
        if words[1] != "train":
            return 0
        known = [word for word in words[2:] if word != "--dry-run"]
        os.environ["COMP_LINE"] = " ".join([words[0], *known, open_word])
    from headsweep.sweep.hydra_app import start

    start(argv)
    return 0
