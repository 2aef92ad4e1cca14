"""Runs on disk: job folders, sweep folders, labels, the ledger of the test split."""
