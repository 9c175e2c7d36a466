"""What a bundle promises of its graph, compared with what ONNX Runtime found in it."""

import json
from typing import Any

from export.bundle import WEIGHTS, Bundle, Outputs


def broken(session: Any, bundle: Bundle) -> str | None:
    """Why an `onnxruntime.InferenceSession` is not that of the bundle's graph; None where it is.

    Classes and checkpoint are compared where the graph names them: those of older bundles name less.
    """
    side, count = bundle.size, len(bundle.classes)
    promised: dict[str, tuple[str, list[int]]] = {"images": ("tensor(uint8)", [side, side, bundle.channels])}
    promised |= {name: ("tensor(float)", [count]) for name in Outputs._fields}
    ends = [*session.get_inputs(), *session.get_outputs()]
    # The first axis is the batch, of any size, and has a name in place of a number.
    found = {end.name: (end.type, end.shape[1:]) for end in ends if end.shape and not isinstance(end.shape[0], int)}
    if found != promised or len(ends) != len(promised):
        told = ", ".join(f"{end.name} {end.type} {end.shape}" for end in ends)
        return f"its graph has {told}; bundle.json promises pictures of {side}x{side} and {count} classes"
    told = session.get_modelmeta().custom_metadata_map
    if "classes" in told and json.loads(told["classes"]) != list(bundle.classes):
        return "the classes in its graph are not those in bundle.json, or in another order"
    if bundle.has_weights and told.get("checkpoint_sha256") not in (None, bundle.document["files"][WEIGHTS]["sha256"]):
        return f"its graph was made from another checkpoint than {WEIGHTS}"
    return None
