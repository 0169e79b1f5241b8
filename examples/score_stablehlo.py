"""Score images with an exported model. Needs no package but jax and flatbuffers, which jax.export reads its files with.

python score_stablehlo.py MODEL IMAGES.npy    (uint8, [N, H, W, C])
"""

import json
import sys
import zipfile

import jax
import jax.export
import numpy as np

with zipfile.ZipFile(sys.argv[1]) as file:
    about = json.loads(file.read("metadata.json"))
    scorer = jax.export.deserialize(bytearray(file.read("scorer.jax")))

images = np.load(sys.argv[2])  # uint8 [N, H, W, C]
scores = jax.jit(scorer.call)(images)  # score, R, L, calibrated: [N]; map: [N, H, W]

for i, (score, share) in enumerate(zip(scores["score"], scores["calibrated"], strict=True)):
    verdict = "abnormal" if score > about["threshold"] else "normal"
    print(f"{i}\t{score:.6g}\t{share:.4f}\t{verdict}")
