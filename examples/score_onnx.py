"""Score image files with an exported model. Needs no packages but onnxruntime, numpy and pillow.

python score_onnx.py MODEL IMAGE...
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["sagan_jax"])
height, width, channels = about["image_shape"]

files = [Image.open(path).convert("RGB" if channels == 3 else "L") for path in sys.argv[2:]]
resized = [np.asarray(file.resize((width, height), Image.Resampling.BICUBIC)) for file in files]
images = np.stack(resized).reshape(-1, height, width, channels)  # uint8 [N, H, W, C]
score, _, _, calibrated, _ = session.run(about["outputs"], {"images": images})  # the last is the map, [N, H, W]

for path, value, share in zip(sys.argv[2:], score, calibrated, strict=True):
    verdict = "abnormal" if value > about["threshold"] else "normal"
    print(f"{path}\t{value:.6g}\t{share:.4f}\t{verdict}")
