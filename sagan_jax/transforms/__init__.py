"""From a detector to a detector: other scores, other maps."""
