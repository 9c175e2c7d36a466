"""What `make image-test` checks can fail: each check is asked about a container in which it does not hold."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks.image import checks
from benchmarks.image.checks import Failed, Subject
from tests.conftest import GOLDEN

REQUEST = '{"request_id": "a"}\n'


@dataclass(frozen=True)
class FakeContainer:
    """This machine in place of a container, with what is said of its server."""

    uid: int = 1034
    capabilities: int = 0
    out: str = REQUEST
    err: str = ""
    status: int = 0
    written: tuple[str, ...] | None = ()
    started: float = 0.0

    def execute(self, command: Sequence[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([sys.executable, *command[1:]], input=given, capture_output=True)

    def process(self) -> str:
        return f"Name:\tbentoml\nUid:\t{self.uid}\t{self.uid}\nCapEff:\t{self.capabilities:016x}\n"

    def stop(self) -> int:
        return self.status

    def logs(self) -> tuple[str, str]:
        return self.out, self.err

    def left(self) -> list[str] | None:
        return None if self.written is None else list(self.written)


GOOD = FakeContainer()


def of(container: FakeContainer) -> Subject:
    return Subject("docker", "alexnet-service:cpu", container, (GOLDEN / "cat.jpg",), ())


@pytest.mark.parametrize(
    ("check", "container"),
    [
        (checks.user, replace(GOOD, uid=0)),
        (checks.user, replace(GOOD, capabilities=1 << 21)),
        (checks.root, replace(GOOD, written=("/app/cache",))),
        (checks.root, replace(GOOD, written=None)),  # as this machine's folders can be written to, or are not there
        (checks.logs, replace(GOOD, out=f"text\n{REQUEST}")),
        (checks.logs, replace(GOOD, out='{"message": "started"}\n')),
        (checks.logs, replace(GOOD, err="a warning\n")),
        (checks.sigterm, replace(GOOD, status=137)),
    ],
)
def test_a_check_fails_where_it_does_not_hold_and_passes_where_it_does(
    check: Callable[[Subject], str], container: FakeContainer
) -> None:
    with pytest.raises(Failed):
        check(of(container))
    assert check(of(GOOD))


@pytest.mark.parametrize(("above", "holds"), [(700, True), (701, False)])
def test_the_size_is_that_above_the_base_image(monkeypatch: pytest.MonkeyPatch, above: int, holds: bool) -> None:
    sizes = {"alexnet-service:cpu": 100.0 + above, checks.BASE: 100.0}
    monkeypatch.setattr(checks, "megabytes", lambda _, image: sizes[image])
    if holds:
        assert f"{above} MB above" in checks.size(of(GOOD))
    else:
        with pytest.raises(Failed, match=f"{above} MB above"):
            checks.size(of(GOOD))


def test_an_answer_that_differs_from_the_one_outside_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"label": "cat", "probability": 0.9}
    monkeypatch.setattr(checks, "ask", lambda *_: [{"status": 200, "body": json.dumps({"predictions": [said]})}])
    same, other = (replace(of(GOOD), expected=[{**said, "probability": value}]) for value in (0.9005, 0.905))
    assert checks.answers(same) == "1 photographs: cat"
    with pytest.raises(Failed):
        checks.answers(other)


def test_a_folder_is_written_to_from_inside_or_it_is_told_why_not(tmp_path: Path) -> None:
    asked = json.dumps({"do": "look", "folders": [str(tmp_path), "/proc"]}).encode()
    found = json.loads(GOOD.execute(["python", "-c", checks.INSIDE], asked).stdout)
    assert found["writing"][str(tmp_path)] == "ok"
    assert found["writing"]["/proc"].startswith("E")
    assert not list(tmp_path.iterdir())
