"""Every setting, frozen: of the methods, of training, of a run.

Nothing heavy is imported here, so that a command line made from these answers at once.
"""

from sagan_jax.config.as_json import settings_from_json, settings_to_json
from sagan_jax.config.methods import (
    AdversarialConfig,
    AnoganConfig,
    EgbadConfig,
    GanConfig,
    GanomalyConfig,
    Precision,
    ReconstructionConfig,
    RestorationConfig,
    SaganConfig,
    SkipGanomalyConfig,
)
from sagan_jax.config.presets import INSPECTION, Preset, sagan_preset, skip_ganomaly_preset
from sagan_jax.config.run import (
    Device,
    FolderConfig,
    HardwareConfig,
    JudgingConfig,
    MapKind,
    OutputConfig,
    Protocol,
    Site,
    Streaming,
    Together,
)
from sagan_jax.config.training import DensityConfig, Scoring, TrainingConfig

__all__ = [
    "INSPECTION",
    "AdversarialConfig",
    "AnoganConfig",
    "DensityConfig",
    "Device",
    "EgbadConfig",
    "FolderConfig",
    "GanConfig",
    "GanomalyConfig",
    "HardwareConfig",
    "JudgingConfig",
    "MapKind",
    "OutputConfig",
    "Precision",
    "Preset",
    "Protocol",
    "ReconstructionConfig",
    "RestorationConfig",
    "SaganConfig",
    "Scoring",
    "Site",
    "SkipGanomalyConfig",
    "Streaming",
    "Together",
    "TrainingConfig",
    "sagan_preset",
    "settings_from_json",
    "settings_to_json",
    "skip_ganomaly_preset",
]
