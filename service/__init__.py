"""A bundle in, classification over HTTP out. PyTorch is imported only where its fallback engine runs."""

import export  # noqa: F401 - before ONNX Runtime, which it keeps from reporting
