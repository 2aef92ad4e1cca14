"""Code that only the notebooks use: importances and contours of a search, a linear read-out."""
