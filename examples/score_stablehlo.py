"""Score images with an exported model. Needs no package but jax and flatbuffers, which jax.export reads its files with.

python score_stablehlo.py MODEL IMAGE...     (files, read as `sagan score` reads them; this needs pillow too)
python score_stablehlo.py MODEL IMAGES.npy   (uint8, [N, H, W, C], just as the model takes them)

Files are read by read_photograph.py beside this file. A line an image: its name, or its number in the array, score,
calibrated score (the share of held-out normal images that score lower) and verdict. Ends with 3 if a file could not be
scored, 2 if the array is not what the model takes, else 0.
"""

import json
import sys
import zipfile

import jax
import jax.export
import numpy as np

BATCH = 32  # images scored at once

with zipfile.ZipFile(sys.argv[1]) as file:
    about = json.loads(file.read("metadata.json"))
    scorer = jax.export.deserialize(bytearray(file.read("scorer.jax")))
score_batch = jax.jit(scorer.call)
unusable = False


def score(images):
    """Score and calibrated score of uint8 images [N, H, W, C], each [N]; the last batch is filled up."""
    found = []
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        filled = np.concatenate([part, np.zeros((BATCH - len(part), *part.shape[1:]), np.uint8)])
        scores = score_batch(filled)  # score, R, L, calibrated: [N]; map: [N, H, W]
        found.append([np.asarray(scores[name])[: len(part)] for name in ("score", "calibrated")])
    return [np.concatenate(values) for values in zip(*found, strict=True)]


def tell(name, value, share):
    """Prints a verdict; returns whether there is none."""
    if not np.isfinite(value):  # no comparison with it is true
        print(f"{name}\t\t\tunusable: the model gives it the score {value}")
        return True
    verdict = "abnormal" if value > about["threshold"] else "normal"
    print(f"{name}\t{value:.6g}\t{share:.4f}\t{verdict}")
    return False


if len(sys.argv) == 3 and sys.argv[2].endswith(".npy"):
    images = np.load(sys.argv[2], allow_pickle=False)
    if about["patches"] is not None:
        print("this model's threshold is for photographs, cut into patches: name their files", file=sys.stderr)
        sys.exit(2)
    if images.dtype != np.uint8 or images.ndim != 4 or list(images.shape[1:]) != about["image_shape"]:
        print(f"the array is {images.dtype} {images.shape}, not uint8 (N, *{about['image_shape']})", file=sys.stderr)
        sys.exit(2)
    for i, (value, share) in enumerate(zip(*score(images), strict=True)):
        unusable |= tell(i, value, share)
else:
    from read_photograph import Refused, read

    for path in sys.argv[2:]:
        try:
            images = read(path, about)
        except Refused as error:
            print(f"{path}\t\t\tunusable: {error}")
            unusable = True
            continue
        unusable |= tell(path, *(values.max() for values in score(images)))  # a photograph's worst patch
sys.exit(3 if unusable else 0)
