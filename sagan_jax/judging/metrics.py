"""How well scores tell abnormal images from normal ones: point values and bootstrap intervals.

Labels are True for abnormal, a higher score is more abnormal, and an image is called abnormal when
`score >= threshold`. Images with the same score are therefore always called together: the operating points of a
detector are its distinct scores and nothing between them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from sagan_jax.errors import UserError, require

Labels = Bool[np.ndarray, " image"]
ScoreArray = Float[np.ndarray, " image"]

_CELLS = 2**20  # resamples x distinct scores held at once: 8 MB for each array of counts


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class Summary(NamedTuple):
    """Every image-level metric of one test set."""

    auroc: Interval
    average_precision: Interval
    f1_max: Interval
    f1_threshold: Interval
    equal_error_rate: Interval


class _Counts(NamedTuple):
    """Images per distinct score, highest score first; a row is one (re)sample of the test set."""

    thresholds: Float[np.ndarray, " score"]
    abnormal: Int[np.ndarray, "row score"]
    normal: Int[np.ndarray, "row score"]
    true_positives: Int[np.ndarray, "row score"]  # abnormal images at or above the threshold
    false_positives: Int[np.ndarray, "row score"]  # normal images at or above the threshold


def auroc(labels: Labels, scores: ScoreArray) -> float:
    """Area under the ROC curve: the chance that an abnormal image outscores a normal one, a tie counting one half.

    Raises:
        UserError: If the arrays differ in length or are empty, a score is not finite, or only one class is there.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_checked(labels, scores)))


def average_precision(labels: Labels, scores: ScoreArray) -> float:
    """Mean precision over the distinct scores, each weighted by the recall it adds; no interpolation.

    Unlike AUROC it depends on the share of abnormal images: chance level is that share.

    Raises:
        UserError: As `auroc`.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_checked(labels, scores)))


def f1_max(labels: Labels, scores: ScoreArray) -> tuple[float, float]:
    """The best F1 of the abnormal class over all distinct scores, and the score that gives it.

    The threshold is chosen on the same labels, so this is an upper bound of what a threshold fixed beforehand reaches.
    Of equally good thresholds the highest is returned.

    Raises:
        UserError: As `auroc`.
    """
    f1, threshold = _f1_max(_count(*_checked(labels, scores)))
    return float(f1[0]), float(threshold[0])


def equal_error_rate(labels: Labels, scores: ScoreArray) -> float:
    """The error rate where as many normal images are called abnormal as abnormal ones are missed.

    That is where the ROC curve, its operating points joined by straight lines, meets the line false positive rate =
    1 - recall. Between two points both rates are interpolated: what choosing one of the two thresholds at random gives.

    Raises:
        UserError: As `auroc`.
    """
    return float(_equal_error_rate(_count(*_checked(labels, scores)))[0])


def summarise(labels: Labels, scores: ScoreArray, *, resamples: int = 1000, seed: int = 0) -> Summary:
    """All metrics, each with a 95 % percentile bootstrap interval.

    Normal and abnormal images are resampled apart, with replacement: the experiment fixes both counts, average
    precision and F1 move with their ratio, and no resample can lose a class. The intervals speak of the choice of test
    images only, not of training again with another seed. A resample picks its own best threshold and so flatters F1-max
    a little: on small sets its interval lies high.

    Where the scores tell all images apart, so do those of every resample. The AUROC's interval then begins where such
    scores would be seen in 2.5 % of all test sets at most: at a, where a^n = 0.025 and n is the number of images of the
    class that has fewer (1 - a, where all scores are in the wrong order).

    Args:
        labels: bool, True = abnormal.
        scores: float, finite, higher = more abnormal.
        resamples: Bootstrap resamples, at least 1.
        seed: Of the resampling; the same seed gives the same intervals.

    Raises:
        UserError: As `auroc`, or if `resamples` is under 1.
    """
    require(resamples >= 1, "resamples", resamples, "at least 1")
    labels, scores = _checked(labels, scores)
    values = (
        auroc(labels, scores),
        average_precision(labels, scores),
        *f1_max(labels, scores),
        equal_error_rate(labels, scores),
    )
    resampled = np.concatenate([_statistics(counts) for counts in _resampled(labels, scores, resamples, seed)])
    bounds = np.percentile(resampled, (2.5, 97.5), axis=0)  # [2, metric]
    if values[0] in (0.0, 1.0):
        least = 0.025 ** (1 / min(labels.sum(), (~labels).sum()))
        bounds[:, 0] = (least, 1.0) if values[0] else (0.0, 1 - least)
    return Summary(
        *(Interval(value, float(low), float(high)) for value, low, high in zip(values, *bounds, strict=True))
    )


def _checked(labels: Shaped[np.ndarray, "..."], scores: Shaped[np.ndarray, "..."]) -> tuple[Labels, ScoreArray]:
    """Bool labels and float64 scores that every metric is defined for."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise UserError(
            f"labels and scores must be flat and of one length; their shapes are {labels.shape} and {scores.shape}"
        )
    if not scores.size:
        raise UserError("there are no scores; metrics need at least one normal and one abnormal image")
    if not np.isin(labels, (0, 1)).all():
        raise UserError("labels must be False (normal) or True (abnormal)")
    labels = labels.astype(bool)
    if broken := int(np.count_nonzero(~np.isfinite(scores))):
        raise UserError(f"{broken:,} of {scores.size:,} scores are NaN or infinite; every score must be finite")
    if labels.all() or not labels.any():
        only = "abnormal" if labels[0] else "normal"
        raise UserError(
            f"all {labels.size:,} images are {only}; metrics need at least one normal and one abnormal image"
        )
    return labels, scores


def _count(labels: Labels, scores: ScoreArray) -> _Counts:
    """The counts of the test set itself, as one row."""
    thresholds, place = _distinct(scores)
    size = thresholds.size
    abnormal, normal = np.bincount(place[labels], minlength=size), np.bincount(place[~labels], minlength=size)
    return _accumulated(thresholds, abnormal[None], normal[None])


def _resampled(labels: Labels, scores: ScoreArray, resamples: int, seed: int) -> Iterator[_Counts]:
    """Counts of bootstrap resamples stratified by label, in chunks of bounded memory.

    The scores are sorted once: a resample only changes how often each distinct score occurs, not their order.
    """
    thresholds, place = _distinct(scores)
    size = thresholds.size
    # A generator for each class, so that the draws do not depend on the size of the chunks.
    strata = list(zip((place[labels], place[~labels]), np.random.default_rng(seed).spawn(2), strict=True))
    rows = max(1, _CELLS // labels.size)
    for start in range(0, resamples, rows):
        row = np.arange(min(rows, resamples - start))[:, None]  # [R, 1]
        abnormal, normal = (
            np.bincount(
                (members[rng.integers(members.size, size=(row.size, members.size))] + row * size).ravel(),
                minlength=row.size * size,
            ).reshape(row.size, size)
            for members, rng in strata
        )
        yield _accumulated(thresholds, abnormal, normal)


def _distinct(scores: ScoreArray) -> tuple[Float[np.ndarray, " score"], Int[np.ndarray, " image"]]:
    """The distinct scores, highest first, and each image's place among them."""
    negated, place = np.unique(-scores, return_inverse=True)
    return -negated, place


def _accumulated(
    thresholds: Float[np.ndarray, " score"],
    abnormal: Int[np.ndarray, "row score"],
    normal: Int[np.ndarray, "row score"],
) -> _Counts:
    return _Counts(thresholds, abnormal, normal, np.cumsum(abnormal, axis=-1), np.cumsum(normal, axis=-1))


def _statistics(counts: _Counts) -> Float[np.ndarray, "row metric"]:
    """The metrics of every row, in the order of `Summary`."""
    return np.stack((_auroc(counts), _average_precision(counts), *_f1_max(counts), _equal_error_rate(counts)), axis=-1)


def _auroc(counts: _Counts) -> Float[np.ndarray, " row"]:
    abnormal, normal = counts.true_positives[:, -1], counts.false_positives[:, -1]
    twice_won = (counts.normal * (2 * counts.true_positives - counts.abnormal)).sum(axis=-1)  # a tie counts 1, a win 2
    return twice_won / (2 * abnormal * normal)


def _average_precision(counts: _Counts) -> Float[np.ndarray, " row"]:
    called = np.maximum(counts.true_positives + counts.false_positives, 1)  # a resample may lack the highest scores
    return (counts.abnormal * (counts.true_positives / called)).sum(axis=-1) / counts.true_positives[:, -1]


def _f1_max(counts: _Counts) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    # 2 TP / (2 TP + FP + FN), where TP + FN is the number of abnormal images.
    f1 = 2 * counts.true_positives / (counts.true_positives + counts.false_positives + counts.true_positives[:, -1:])
    best = f1.argmax(axis=-1)  # the first of equals: the highest threshold
    return f1[np.arange(len(f1)), best], counts.thresholds[best]


def _equal_error_rate(counts: _Counts) -> Float[np.ndarray, " row"]:
    abnormal, normal = counts.true_positives[:, -1], counts.false_positives[:, -1]  # [R]
    # FPR - (1 - TPR), times both class sizes: whole numbers, so that a crossing on a point is found exactly.
    excess = counts.false_positives * abnormal[:, None] + counts.true_positives * normal[:, None]
    excess -= (abnormal * normal)[:, None]
    at = np.arange(len(excess)), (excess >= 0).argmax(axis=-1)  # the first operating point at or past the crossing
    rise = counts.normal[at] * abnormal + counts.abnormal[at] * normal
    share = excess[at] / rise  # how much of the last segment lies past the crossing
    return (counts.false_positives[at] - share * counts.normal[at]) / normal
