"""A run's report: one HTML page with all there is to see in the run's folder, which opens from disk without a network.

Text, tables and thumbnails are written by the template `page.html`, which escapes all it is given; `page.js` draws the
plots with uPlot, embedded, and moves what the threshold moves. The page's policy lets it run those scripts alone.
"""

import base64
import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from sagan_jax import run_folder
from sagan_jax.errors import UserError
from sagan_jax.judging import evaluation
from sagan_jax.report import plots, text, thumbnails

_UPLOT = "1.6.32"  # the version in `vendor/`, as npm has it
CURVE_POINTS = 1000  # of a ROC or PR curve: more than a screen shows
_METRIC_NAMES = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "f1_max": "F1-max",
    "equal_error_rate": "Equal error rate",
    "pixel_auroc": "Pixel AUROC",
    "aupro": "AUPRO to 0.3",
}


def write_report(folder: Path) -> Path:
    """Writes `report.html` into a run's folder, from what else is in there.

    Args:
        folder: A run's folder. The run may be unfinished or without a test set.

    Returns:
        The page's path.

    Raises:
        UserError: If it is not a run's folder, or a file in it cannot be read.
    """
    path = folder / "report.html"
    run_folder.write_text(path, page(folder))
    return path


def page(folder: Path) -> str:
    """The report of a run's folder as HTML; see `write_report`."""
    from jinja2 import TemplateError

    with run_folder.damage_as_user_error(folder, TemplateError):
        return rendered(folder)


def rendered(folder: Path) -> str:
    """The page, if the folder's files are what a run writes."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    config = run_folder.read_json(folder / "config.json")
    if config is None:
        raise UserError(f"{folder} is not a run's folder: it has no config.json")
    result = run_folder.read_result(folder, config)
    strict = result.get("strict")
    history = run_folder.read_metrics(folder / "metrics.jsonl")
    labels, scores = _read_scores(folder / "scores.csv")
    cards = run_folder.read_json(folder / thumbnails.FILE) or {"cards": []}
    panels = _loss_curves(history)
    curves = curves_of(labels, scores) if evaluation.has_both(labels) else None
    styles, library, program = (
        Markup("\n".join(_read_part(name) for name in names))
        for names in (("vendor/uPlot.min.css", "page.css"), ("vendor/uPlot.iife.min.js",), ("page.js",))
    )
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    html = template.from_string(_read_part("page.html")).render(
        policy=policy(styles, library, program),
        styles=styles,
        library=library,
        program=program,
        licence=Markup(_read_part("vendor/LICENSE-uPlot")),
        uplot=_UPLOT,
        title=f"{config['dataset']}, abnormal: {config['abnormal']}",
        config=config,
        images=result.get("images", {}),
        strict=strict,
        finished=bool(result),
        sections=sections(curves=bool(curves), losses=bool(panels), gallery=bool(cards["cards"])),
        metrics=[
            {"name": _METRIC_NAMES.get(name, name.replace("_", " "))} | metric
            for name, metric in (strict or {}).items()
            if isinstance(metric, dict) and "low" in metric and name != "f1_threshold"
        ],
        floor=result.get("floor", {}),
        kinds=result.get("kinds", []),
        pixels=result.get("pixels"),
        notes=result.get("notes", []),
        curves=curves,
        hidden=curves["histogram"]["hidden"] if curves else 0,
        losses=panels,
        epochs=[row["epoch"] for row in history],
        gallery=cards["cards"],
        gallery_kinds=list(dict.fromkeys(card["kind"] for card in cards["cards"])),
        shown_of=cards.get("of", 0),
        pixelated=cards.get("pixelated", False),
        masked=cards.get("masked", False),
        views=thumbnails.VIEWS,
        resting=text.resting(result) if result and curves else "",
        threshold=strict["threshold"]["value"] if strict else None,
        leaks=text.leaks(result["reference"]) if result and "reference" in result else {},
        settings=_settings_by_heading(config, result or {}),
        data=_script_data(
            {"threshold": float(np.float32(strict["threshold"]["value"])) if strict else None, "losses": panels}
            | (curves or {})
        ),
    )
    return html.encode(errors="backslashreplace").decode()  # a file's name need not be text


def policy(styles: str, *scripts: str) -> str:
    """A content security policy that allows these very styles and scripts, images within the page, and nothing else."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src data:; style-src {digest(styles)}; "
        f"script-src {' '.join(map(digest, scripts))}; base-uri 'none'; form-action 'none'"
    )


def _script_data(values: Mapping[str, Any]) -> Any:
    """JSON that is safe inside a script element: nothing in it can end the element."""
    from markupsafe import Markup

    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def sections(*, curves: bool, losses: bool, gallery: bool) -> list[tuple[str, str]]:
    """The page's sections that have content: anchor and name."""
    there = {
        ("result", "Result"): True,
        ("threshold-section", "Threshold"): curves,
        ("losses", "Training"): losses,
        ("gallery-section", "Images"): gallery,
        ("protocol", "The small print"): True,
        ("configuration", "Configuration and provenance"): True,
    }
    return [section for section, shown in there.items() if shown]


def curves_of(labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """What the plots that the threshold moves in are drawn from, as JSON values.

    Args:
        labels: bool `[M]`, True = abnormal; both classes are there.
        scores: float32 `[M]`.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    bins = plots.histogram(scores.astype(np.float64), labels)
    widths = np.diff(np.log10(bins.edges) if bins.logarithmic else bins.edges)
    false_positive_rate, true_positive_rate, _ = roc_curve(labels, scores)
    precision, recall, _ = precision_recall_curve(labels, scores, drop_intermediate=True)
    return {
        "normal": packed(scores[~labels]),
        "abnormal": packed(scores[labels]),
        "histogram": {
            "edges": rounded(bins.edges),
            "normal": rounded(bins.normal / (np.count_nonzero(~labels) * widths)),
            "abnormal": rounded(bins.abnormal / (np.count_nonzero(labels) * widths)),
            "hidden": bins.hidden,
            "logarithmic": bins.logarithmic,
        },
        "roc": thin_curve(false_positive_rate, true_positive_rate),
        "pr": thin_curve(
            recall[-2::-1], precision[-2::-1]
        ),  # without the last: a precision of 1 where nothing is called
    }


def packed(scores: np.ndarray) -> str:
    """Scores from low to high as base64 of little-endian float32: exact, and short."""
    return base64.b64encode(np.sort(scores).astype("<f4").tobytes()).decode()


def thin_curve(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """A curve's points, at most `CURVE_POINTS` of them: spread evenly along it, both ends kept."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    if len(x) > CURVE_POINTS:
        kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], CURVE_POINTS)).clip(0, len(x) - 1))
        x, y = x[kept], y[kept]
    return [rounded(x), rounded(y)]


def rounded(values: np.ndarray) -> list[float]:
    """Rounded to six digits, more than a plot can show."""
    return [float(f"{value:.6g}") for value in values]


def _loss_curves(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The panels of the loss curves as JSON values: the same as in `losses.png`."""
    panels = []
    for title, lines in plots.loss_panels(history).items():
        values = {name: [row.get(key) for row in history] for name, key in lines.items()}
        numbers = [value for line in values.values() for value in line if value is not None]
        panels.append(
            {
                "title": title,
                "epochs": [row["epoch"] for row in history],
                "lines": [{"name": name, "values": line} for name, line in values.items()],
                "logarithmic": plots.spans_decades(numbers),
            }
        )
    return panels


def _settings_by_heading(config: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The configuration and what made the result, by heading."""
    groups = {"Data and method": {key: value for key, value in config.items() if not isinstance(value, Mapping)}}
    groups |= {name.capitalize(): dict(value) for name, value in config.items() if isinstance(value, Mapping)}
    made = dict(result.get("provenance", {}))
    packages = made.pop("packages", {})
    facts = {"device": result.get("device"), **result.get("arithmetic", {})}
    facts |= {"seconds of training": result.get("train_seconds")} | made | packages
    groups["Provenance"] = {name: value for name, value in facts.items() if value is not None}
    return groups


def _read_part(name: str) -> str:
    """A part of the page, from beside this file."""
    return (files("sagan_jax.report") / name).read_text(encoding="utf-8")


def _read_scores(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels (bool) and scores (float32) of a run's `scores.csv`; none if it is not there.

    Raises:
        UserError: If it cannot be read.
    """
    if not path.exists():
        return np.zeros(0, bool), np.zeros(0, np.float32)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(int(row["label"]), float(row["score"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read as a run's scores: {error!r}") from error
    return np.array([label == 1 for label, _ in rows], bool), np.array([score for _, score in rows], np.float32)
