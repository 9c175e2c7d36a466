"""What the scope of a request says, read from it as it is.

Exists for speed: Starlette's `Headers` took 4 % of a worker's time under 32 clients (AMD EPYC, a sampling profiler).
"""

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str:
    """The first header of that lower-case name; empty where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            found: str = value.decode("latin-1")
            return found
    return ""


def media_type(scope: Scope) -> str:
    """What the body is said to be, without parameters; empty where nothing is said."""
    return header(scope, b"content-type").partition(";")[0].strip().lower()
