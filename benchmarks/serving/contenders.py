"""What is compared: every server's command, where it answers, and what it is put under."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.loads import ALONE, CEILING_LOAD, LOADS, PEER_LOAD

ROOT = Path(__file__).resolve().parents[2]
PEERS = "benchmarks.serving.peers"
BENTOML = ("bentoml", "serve")
OURS = (*BENTOML, "service.service:AlexNetService")


@dataclass(frozen=True)
class Contender:
    """A server: words after `python -m` and before `--port N`, the path that says it is ready, its loads, settings."""

    title: str
    words: tuple[str, ...]
    ready: str = "/readyz"
    loads: tuple[str, ...] = tuple(LOADS)
    requests: int | None = None  # how many different ones it can answer
    variables: Mapping[str, str] = field(default_factory=dict)


CONTENDERS = {
    "ours": Contender("ours", OURS),
    "ours-threads": Contender(
        "ours, one worker with all cores",
        OURS,
        loads=(ALONE, PEER_LOAD, CEILING_LOAD),
        variables={"ALEXNET_WORKERS": "1"},
    ),
    "bentoml": Contender("BentoML, batchable=True", (*BENTOML, f"{PEERS}.stock:Stock")),
    "litserve": Contender("LitServe", (f"{PEERS}.lit",), ready="/health"),
    "starlette": Contender(
        "Starlette + ONNX Runtime",
        ("uvicorn", f"{PEERS}.bare:app", "--workers", str(os.cpu_count()), "--no-access-log", "--log-level", "warning"),
    ),
    "empty": Contender("an empty BentoML service", (*BENTOML, f"{PEERS}.empty:Empty"), loads=()),
    "nothing": Contender(
        "no server, only its answers", (f"{PEERS}.nothing",), loads=(PEER_LOAD, CEILING_LOAD), requests=1
    ),
}


def command(contender: Contender, port: int) -> list[str]:
    """The words that start it."""
    return [sys.executable, "-m", *contender.words, "--port", str(port)]


def environment(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without its settings of servers, with a BentoML home of the run's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALEXNET_", "BENTOML_"))}
    return {**kept, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "ALEXNET_ACCESS_LOG": "0", **variables}
