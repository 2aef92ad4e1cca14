"""Statistics on arrays: metrics, intervals, verdicts, sample sizes."""
