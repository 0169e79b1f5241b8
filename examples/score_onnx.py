"""Score image files with an exported model. Needs no packages but onnxruntime, numpy and pillow.

python score_onnx.py MODEL IMAGE...

Files are read as `sagan score` reads them, by read_photograph.py beside this file. A line a file: its name, score,
calibrated score (the share of held-out normal images that score lower) and verdict. Ends with 3 if one could not be
scored, else 0.
"""

import json
import sys

import numpy as np
import onnxruntime
from read_photograph import Refused, read

BATCH = 32  # patches of a photograph scored at once

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["sagan_jax"])
unusable = False
for path in sys.argv[2:]:
    try:
        images = read(path, about)  # uint8 [N, H, W, C]
    except Refused as error:
        print(f"{path}\t\t\tunusable: {error}")
        unusable = True
        continue
    parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    scored = [session.run(["score", "calibrated"], {"images": part}) for part in parts]
    score, calibrated = (np.concatenate(values).max() for values in zip(*scored, strict=True))  # the worst patch's
    if not np.isfinite(score):  # no comparison with it is true
        print(f"{path}\t\t\tunusable: the model gives it the score {score}")
        unusable = True
        continue
    verdict = "abnormal" if score > about["threshold"] else "normal"
    print(f"{path}\t{score:.6g}\t{calibrated:.4f}\t{verdict}")
sys.exit(3 if unusable else 0)
