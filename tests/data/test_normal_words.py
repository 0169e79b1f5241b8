"""Which names of folders and labels call images normal."""

import pytest

from sagan_jax.data.normal_words import means_normal


@pytest.mark.parametrize(
    "name",
    [
        *("good", "Good", "OK", "ok", "0.normal", "normal", "NORMAL_2", "nominal", "pass", "passed", "clean"),
        *("healthy", "defect_free", "Defect-Free", "defect free", "no_defect", "no-defects", "fine", "regular"),
        *("good_parts", "normal images", "00_good", "io"),
    ],
)
def test_names_of_normal_images(name):
    assert means_normal(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "0", "bad", "ko", "ng", "nok", "nio", "not_ok", "no_good", "abnormal", "1.abnormal", "anomaly", "defect"),
        *("broken", "goods_damaged", "not_normal", "good_and_bad", "parts", "combined", "logical_anomalies", "unclean"),
    ],
)
def test_names_of_defects_and_names_that_say_nothing(name):
    assert not means_normal(name)
