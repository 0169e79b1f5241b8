"""The operations that the networks are made of, and the project's own kernels for CPUs."""
