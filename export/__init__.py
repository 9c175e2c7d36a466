"""A checkpoint in, one verified bundle out. Importing this package does not import torch."""

import os

# From 1.29 on ONNX Runtime reports its use to its makers as soon as it is imported, unless this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
