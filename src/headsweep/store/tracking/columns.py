"""Columns of MLflow's page of our runs, saved as its view ``headsweep``.

MLflow keeps what people save under "Views" as tags of the experiment, and opens one of them by
``viewStateShareKey`` in the address. It does not promise this form to others:
``tests/system/test_browser.py`` fails when an upgrade changes it.
"""

import json

KEY = "headsweep"
TAG = f"mlflow.sharedViewState.{KEY}"
"""Tag of the experiment that holds the view."""

WIDTHS = {
    "attributes.`Run Name`": 212,
    "runDateAndNestInfo": 100,  # MLflow has it here, whatever is asked for
    "metrics.`val_qoverpt_r68_mean`": 165,  # of jobs; of a sweep that of its best
    "metrics.`val_qoverpt_r68_std`": 150,
    "metrics.`val_qoverpt_r68`": 122,  # of seeds and trials
    "tags.`verdict`": 90,  # of a sweep and its jobs, once a report is made
    "params.`hidden_dim`": 93,
    "params.`num_layers`": 93,
    "params.`dropout`": 72,
    "metrics.`dev_qoverpt_r68_mean`": 165,  # of jobs, from the report
    "tags.`best`": 110,  # of a sweep
    "params.`params_total`": 112,
    "tags.`data`": 100,
    "tags.`status`": 120,  # how many seeds of a job are finished
    "duration": 72,
}
"""Columns in their order, in pixels: name to dropout fit on a laptop without scrolling."""


def content() -> str:
    """The value of ``TAG``; what is not said here stays as MLflow has it."""
    order = list(WIDTHS)
    state = {"selectedColumns": order, "columnOrder": order, "columnWidths": WIDTHS}
    return json.dumps({"name": KEY, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})


def address(experiment: str) -> str:
    """The page of an experiment in this view, below the address of the server."""
    # Without the type of work MLflow opens on traces of language models, of which we have none.
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"
