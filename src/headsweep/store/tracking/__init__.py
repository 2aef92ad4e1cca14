"""The copy of the run folders in MLflow."""
