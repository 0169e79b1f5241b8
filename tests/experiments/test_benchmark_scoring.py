"""The benchmark of verdicts, as far as it is not a matter of time."""

from pathlib import Path

import numpy as np
from PIL import Image

from experiments.benchmark_scoring import PeerPhotographs, ratios, write_photographs
from sagan_jax.data.image_file import read_image


def test_photographs_are_different_jpegs_of_a_megapixel(tmp_path):
    files = write_photographs(tmp_path / "photographs", 3)
    images = [Image.open(path) for path in files]
    assert {(image.format, image.size) for image in images} == {("JPEG", (1160, 864))}
    assert len({image.tobytes() for image in images}) == 3


def test_the_peer_reads_what_we_read_of_jpegs_decoded_whole(tmp_path):
    files = write_photographs(tmp_path / "photographs", 1)
    np.testing.assert_array_equal(PeerPhotographs(files, 32)[0].transpose(1, 2, 0), read_image(files[0], size=32))
    assert len(PeerPhotographs([Path("a"), Path("b")], 32)) == 2


def test_ratios_are_by_round():
    assert ratios([4.0, 9.0, 2.0], [2.0, 3.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}
