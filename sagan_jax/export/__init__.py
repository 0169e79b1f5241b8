"""Models that run elsewhere: programs, weights, PyTorch's weights."""
