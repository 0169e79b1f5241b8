"""SAGAN, Skip-Attention GAN for image anomaly detection, in JAX."""

__version__ = "0.1.0"
