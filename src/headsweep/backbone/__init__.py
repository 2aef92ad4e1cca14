"""The frozen transformer: loading, training, and its stand-in made of truth."""
