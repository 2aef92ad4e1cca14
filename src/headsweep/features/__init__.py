"""Frozen features: one pass through the backbone, cached on disk."""
