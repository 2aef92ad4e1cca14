"""Training of heads: targets, pooling, stacked members, the loop."""
