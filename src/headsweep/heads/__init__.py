"""Regression heads, one architecture a file."""
