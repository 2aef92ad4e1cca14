"""The trials of standard input by joblib: each in a process, which joblib uses again."""

import json
import sys

from joblib import Parallel, delayed
from trial import train_one


def main() -> None:
    task = json.loads(sys.stdin.read())
    values = Parallel(n_jobs=task["workers"], batch_size=1)(
        delayed(train_one)(task["overrides"], **trial) for trial in task["trials"]
    )
    print(json.dumps(values))


if __name__ == "__main__":
    main()
