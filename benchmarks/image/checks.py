"""What must hold of the image and of a container that runs it: each check tells what it found, or fails."""

import base64
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.image.containers import Container, inspected, megabytes

BASE = "python:3.11-slim"
MOST_MEGABYTES = 700  # above the base image
MOST_SECONDS = 5.0  # from the container's start until it is ready
PATIENCE = 60.0
USER = 1034
NEAR = 1e-3  # between two builds of ONNX Runtime
INSIDE = (Path(__file__).with_name("inside.py")).read_text()
ROOT_FOLDERS = ("/", "/app", "/home/bentoml/bento", "/var/tmp")  # noqa: S108 - in the container
FORM = "boundary-of-the-form"


@dataclass(frozen=True)
class Subject:
    """What is looked at, and what it must answer."""

    backend: str
    image: str
    container: Container
    photographs: Sequence[Path]
    expected: Sequence[Mapping[str, Any]]  # of the photographs, as the same model answers outside of the container


class Failed(Exception):
    """It does not hold; the message says what was found instead."""


class Unchecked(Exception):
    """It cannot be checked with this engine; the message says why."""


def require(holds: bool, told: str) -> None:
    """Raise Failed with `told` where something does not hold."""
    if not holds:
        raise Failed(told)


def inside(container: Container, **asked: Any) -> Any:
    """What `inside.py` answers from within the container."""
    done = container.execute(["python", "-c", INSIDE], json.dumps(asked).encode())
    require(done.returncode == 0, done.stderr.decode())
    return json.loads(done.stdout)


def request(method: str, path: str, body: bytes = b"", **headers: str) -> dict[str, Any]:
    """A request as `inside.py` takes it."""
    return {"method": method, "path": path, "body": base64.b64encode(body).decode(), "headers": headers}


def ask(container: Container, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers to requests from within the container."""
    found: list[dict[str, Any]] = inside(container, do="ask", requests=requests)
    return found


def size(of: Subject) -> str:
    """The image is not much larger than its base."""
    whole, base = megabytes(of.backend, of.image), megabytes(of.backend, BASE)
    told = f"{whole:.0f} MB, of which {whole - base:.0f} MB above {BASE}; target {MOST_MEGABYTES} MB"
    require(whole - base <= MOST_MEGABYTES, told)
    return told


def ready(of: Subject) -> str:
    """It answers soon after its start."""
    status, started = 0, of.container.started
    while status != 200 and time.monotonic() < started + PATIENCE:
        status = ask(of.container, request("GET", "/readyz"))[0]["status"]
    seconds = time.monotonic() - started
    told = f"after {seconds:.1f} s with two workers; target {MOST_SECONDS:.0f} s"
    require(status == 200 and seconds <= MOST_SECONDS, told)
    return told


def engine(of: Subject) -> str:
    """ONNX Runtime serves on the CPU, and the service says that PyTorch is left out."""
    (answer,) = ask(of.container, request("GET", "/model"))
    found = json.loads(answer["body"])["engine"]
    told = f"{found['name']}; no fallback: {found['no_fallback']}"
    require(found["name"] == "onnx-cpu" and "PyTorch is not installed" in str(found["no_fallback"]), told)
    return told


def answers(of: Subject) -> str:
    """Photographs get the answers that the same model gives outside of the container."""
    headers = {"Content-Type": f"multipart/form-data; boundary={FORM}"}
    (answer,) = ask(of.container, request("POST", "/classify", form(of.photographs), **headers))
    require(answer["status"] == 200, f"{answer}")
    found = json.loads(answer["body"])["predictions"]
    for one, other in zip(found, of.expected, strict=True):
        same = one["label"] == other["label"] and abs(one["probability"] - other["probability"]) <= NEAR
        require(same, f"{one} and not {other}")
    return f"{len(found)} photographs: {', '.join(one['label'] for one in found)}"


def form(named: Sequence[Path]) -> bytes:
    """Files as a body of multipart/form-data."""
    parts = [
        f'--{FORM}\r\nContent-Disposition: form-data; name="images"; filename="{path.name}"\r\n\r\n'.encode()
        + path.read_bytes()
        for path in named
    ]
    return b"\r\n".join([*parts, f"--{FORM}--\r\n".encode()])


def metrics(of: Subject) -> str:
    """Every worker's requests are in the metrics, whichever of them is asked."""
    body, kind = of.photographs[1].read_bytes(), {"Content-Type": "image/jpeg"}
    before = counted(of.container)
    sent = [request("POST", "/classify", body, **kind)] * 40
    require(all(answer["status"] == 200 for answer in ask(of.container, *sent)), "a request failed")
    found = [counted(of.container) for _ in range(5)]
    rise = {worker: count - before.get(worker, 0) for worker, count in found[0].items()}
    told = f"{len(sent)} requests: " + ", ".join(f"{count} by worker {name}" for name, count in sorted(rise.items()))
    require(len(rise) == 2 and sum(rise.values()) == len(sent) and all(one == found[0] for one in found), told)
    return told


def counted(container: Container) -> dict[str, int]:
    """The requests to classify that each worker has answered."""
    (answer,) = ask(container, request("GET", "/metrics"))
    lines = re.findall(r"^alexnet_requests_total\{(.*)\} (\S+)$", answer["body"], re.MULTILINE)
    labels = [(dict(re.findall(r'(\w+)="([^"]*)"', text)), float(value)) for text, value in lines]
    return {each["worker"]: int(value) for each, value in labels if each["route"] == "/classify"}


def user(of: Subject) -> str:
    """The server is no user with rights, nor can it become one."""
    status = dict(line.partition(":")[::2] for line in of.container.process().splitlines())
    uids, capabilities = set(status["Uid"].split()), int(status["CapEff"], 16)
    told = f"user {', '.join(sorted(uids))} with {capabilities.bit_count()} capabilities"
    require(uids == {str(USER)} and not capabilities, told)
    return told


def root(of: Subject) -> str:
    """Its root cannot be written to, but /tmp can; or, where buildah runs it, nothing was written."""
    if (left := of.container.left()) is not None:
        require(not left, f"written: {', '.join(left)}")
        return "buildah has no read-only root; nothing was written to it, by the times of its files"
    found = inside(of.container, do="look", folders=[*ROOT_FOLDERS, "/tmp"])["writing"]  # noqa: S108 - in the container
    told = ", ".join(f"{folder} {what}" for folder, what in found.items())
    require(found.pop("/tmp") == "ok" and set(found.values()) == {"EROFS"}, told)  # noqa: S108
    return told


def network(of: Subject) -> str:
    """There is none, and so nothing has come from one."""
    found = inside(of.container, do="look", folders=[])["networks"]
    told = f"interfaces: {', '.join(found)}"
    if of.container.left() is None:
        require(found == ["lo"], told)
        return told
    raise Unchecked("buildah runs it in the network of this machine")


def health(of: Subject) -> str:
    """The image's own check of health says yes."""
    kind, *command = inspected(of.backend, of.image)["Healthcheck"]["Test"]
    done = of.container.execute(command)
    told = f"{kind} {command[0]} ends with {done.returncode}"
    require((kind, done.returncode) == ("CMD", 0), told)
    return told


def logs(of: Subject) -> str:
    """All that it says is lines of JSON on the standard output, with the requests among them."""
    out, err = of.container.logs()
    text = [line for line in out.splitlines() if not line.startswith("{")]
    require(not text, f"no JSON: {text[:3]}")
    lines = [json.loads(line) for line in out.splitlines()]
    asked = sum("request_id" in line for line in lines)
    told = f"{len(lines)} lines of JSON, {asked} of them requests; {len(err.splitlines())} lines on the standard error"
    require(asked > 0 and not err, told)
    return told


def sigterm(of: Subject) -> str:
    """SIGTERM ends it, and well."""
    started = time.monotonic()
    status = of.container.stop()
    told = f"status {status} after {time.monotonic() - started:.1f} s"
    require(status == 0, told)
    return told


# In this order; the last one ends the container.
CHECKS: tuple[Callable[[Subject], str], ...] = (
    size,
    ready,
    engine,
    answers,
    metrics,
    health,
    user,
    root,
    network,
    logs,
    sigterm,
)
