"""SAGAN, Skip-Attention GAN for image anomaly detection, in JAX.

The functional API is in the modules: `sagan.sagan` makes a detector of a `config.SaganConfig`, `training.fit` trains
it, `scoring.score_images` scores with it, `checkpoint` keeps it.
"""

__version__ = "0.1.0"
