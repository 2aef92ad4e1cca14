"""The trials of standard input by Ray Tune: one process each, as many at once as workers."""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ |= {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}

import ray
from ray import tune
from trial import train_one


def main() -> None:
    task = json.loads(sys.stdin.read())
    here = str(Path(__file__).parent)

    def trainable(config: dict[str, Any]) -> None:
        tune.report({"r68": train_one(task["overrides"], **config["trial"])})

    with TemporaryDirectory() as storage:
        ray.init(
            num_cpus=task["workers"],
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            runtime_env={"env_vars": {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}},
        )
        found = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"trial": tune.grid_search(task["trials"])},
            run_config=tune.RunConfig(storage_path=storage, verbose=0),
        ).fit()
        values = {
            (one.config["trial"]["preset"], one.config["trial"]["seed"]): one.metrics["r68"]
            for one in found
        }
        ray.shutdown()
    print(json.dumps([values[one["preset"], one["seed"]] for one in task["trials"]]))


if __name__ == "__main__":
    main()
