"""What only the notebooks use: importances and contours of a search, and a linear read-out."""
