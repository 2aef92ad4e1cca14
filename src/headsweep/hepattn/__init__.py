"""To and from hepattn: its configurations and checkpoints in, trained heads out."""
