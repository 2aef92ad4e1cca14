"""Runs a command and prints the processor time of all processes that it started.

``python tests/helpers/processor_time.py COMMAND [ARGUMENT ...]`` ends with the exit code of the
command. ``make test`` measures the suite with it.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time

GRACE = 2.0
"""Seconds that the rest of the processes may take to end after the command has."""
PR_SET_CHILD_SUBREAPER = 36
"""Of ``prctl(2)``: processes whose parent has died become children of this one."""


def main() -> int:
    """Run the command of the arguments; its exit code."""
    # Else the time of workers whose command a test has killed would go to init, and be lost.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command
    started = time.monotonic()
    code = _wait(subprocess.Popen(sys.argv[1:]).pid)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor, wall = used.ru_utime + used.ru_stime, time.monotonic() - started
    print(f"{processor / 60:.2f} processor minutes in {wall / 60:.2f} minutes")
    return code


def _wait(command: int) -> int:
    """Wait until the command has ended, and ``GRACE`` for the others; the command's exit code."""
    while True:
        pid, status = os.wait()
        if pid == command:
            break
    until = time.monotonic() + GRACE
    while _left() and time.monotonic() < until:
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(status)


def _left() -> bool:
    """Wait for every child that has ended; whether one is left that has not."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
