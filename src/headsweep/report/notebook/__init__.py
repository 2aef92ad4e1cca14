"""Code that only the notebooks use: a closer look at a search, and a linear read-out."""
