"""Sweeps: from a command line to finished jobs, with workers that may be killed."""
