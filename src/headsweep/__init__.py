"""Find out which regression head to put on a frozen hit transformer, and defend the answer."""

__version__ = "0.1.0"
