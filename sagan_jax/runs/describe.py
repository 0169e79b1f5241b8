"""A run's folder described in words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sagan_jax import run_folder
from sagan_jax.judging.calibration import threshold_for
from sagan_jax.judging.false_positive_rate import percent, resting_on
from sagan_jax.methods.table import Method
from sagan_jax.report import text
from sagan_jax.runs.configuration import read_config
from sagan_jax.runs.model import load_model


def describe(folder: Path, method: Method | None = None) -> str:
    """What the model is, how it was made, how well it did and what its threshold is, as lines of text.

    Raises:
        UserError: If the folder holds no run, or of an unfinished one no checkpoint that can be read.
    """
    with run_folder.damage_as_user_error(folder):
        return _description(folder, method)


def _description(folder: Path, method: Method | None) -> str:
    """The lines, if the folder's files are what a run writes."""
    config = read_config(folder)
    epochs = len(run_folder.read_metrics(folder / "metrics.jsonl"))
    height, width, channels = config["image_shape"]
    cut = ""
    if "patches" in config:
        cut = f" patches, {config['patches']['stride']} pixels apart, of photographs of any size"
    together = f", held out together by --group={config['group']}" if "group" in config else ""
    lines = [
        f"{folder}: {config['method']} on {config['dataset']}, abnormal: {config['abnormal']}",
        f"  images     {height} x {width}, {'grey' if channels == 1 else 'RGB'}{cut}; {config['train_images']:,} "
        f"normal ones, held-out ones among them{together}",
        *([f"  files      {_settings_line(config['reading'])}"] if "reading" in config else []),
        f"  model      {_settings_line(config['model'])}",
        f"  training   {epochs} of {config['training']['epochs']} epochs done; {_settings_line(config['training'])}",
    ]
    if result := run_folder.read_result(folder, config):
        made = result["provenance"]
        versions = ", ".join(f"{name} {made['packages'][name]}" for name in ("sagan-jax", "jax", "flax"))
        lines += [
            f"  made       {made['date']} in {result['train_seconds']:,.0f} s on {result['device']}; {versions}; "
            f"commit {made['commit'] or 'unknown'}",
            f"             {made['command']}",
            "",
            text.summary(result),
        ]
    else:
        model = load_model(folder, method=method)
        threshold = threshold_for(model.calibration, model.false_positive_rate)
        lines += [
            "",
            f"not finished; --resume continues from epoch {model.epoch}",
            f"  threshold {threshold:.4g} at that epoch, for {percent(model.false_positive_rate)} false positives; "
            f"{resting_on(model.held_out)}",
        ]
    return "\n".join(lines)


def _settings_line(values: Mapping[str, Any]) -> str:
    """Settings as one line."""
    return ", ".join(f"{name} {value}" for name, value in values.items())
