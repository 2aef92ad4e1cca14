"""Searches with Optuna: rules, queue, storage, finalists."""
