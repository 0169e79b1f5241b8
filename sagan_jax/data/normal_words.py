"""Words that people call normal images by, so that those are not taken for a kind of defect."""

import re

_WORDS = (
    *("normal", "normals", "nominal", "good", "goods", "ok", "okay", "io", "pass", "passed", "clean"),
    *("healthy", "fine", "regular", "intact", "perfect", "flawless", "faultless", "undamaged", "unbroken"),
    *("correct", "golden", "negative", "defect_free", "no_defect", "no_defects", "non_defective"),
    *("not_defective", "anomaly_free", "no_anomaly", "no_anomalies", "fault_free", "no_fault"),
    *("no_faults", "error_free", "without_defect", "without_defects", "defectfree", "nodefect"),
)
_FILLERS = frozenset(("image", "images", "photo", "photos", "part", "parts", "sample", "samples"))


def means_normal(name: str) -> bool:
    """Whether a name calls what has it normal: in capitals or not, with -, _ or blanks, numbered or not."""
    words = [word.strip("0123456789") for word in re.split(r"[\W_]+", name.lower())]
    return "_".join(word for word in words if word and word not in _FILLERS) in _WORDS
