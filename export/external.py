"""Whether an ONNX file keeps weights in another file, told from its bytes alone: readers of bundles have no onnx.

Such a file would be outside the bundle's hashes. In protobuf, the entry that names it begins with the key `location`:
the number of a field, a length of 8, and the word. Both numbers can be spelled in more bytes than they need.
"""

import re

KEY = b"location"
BEFORE = re.compile(rb"(?:\n|\x8a\x80*\x00)(?:\x08|\x88\x80*\x00)\Z")
LONGEST = 20  # bytes of two numbers, of ten at most each


def is_named(graph: bytes) -> bool:
    """Whether an entry of that key is anywhere in the bytes; a weight or a class may be called so all the same."""
    place = graph.find(KEY)
    while place >= 0:
        if BEFORE.search(graph[max(0, place - LONGEST) : place]):
            return True
        place = graph.find(KEY, place + 1)
    return False
