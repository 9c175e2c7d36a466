"""The shipped model, served, on the golden photographs: what `make serve` and curl show a newcomer."""

from collections.abc import Iterator

import pytest

from tests.conftest import GOLDEN, SHIPPED
from tests.e2e.server import SERVICE, Server, environment, running

PHOTOGRAPHS = sorted(path for path in GOLDEN.iterdir() if path.suffix in {".jpg", ".png"})
# What the shipped model takes for another class; tests/golden/README.md lists its answers.
MISSED: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    command = [*SERVICE, "serve", "--model", str(SHIPPED)]
    with running(command, environment(home), home / "server.log") as server:
        yield server


def test_at_least_four_classes_and_a_cat_are_there() -> None:
    assert len({path.stem.partition("-")[0] for path in PHOTOGRAPHS}) >= 4
    assert "cat.jpg" in {path.name for path in PHOTOGRAPHS} - MISSED


def test_photographs_get_the_names_of_their_files(server: Server) -> None:
    answer = server.classify(*((path.name, path.read_bytes()) for path in PHOTOGRAPHS))
    said = {entry["filename"]: entry["label"] for entry in answer.json()["predictions"]}
    assert {name for name, label in said.items() if name.partition(".")[0] != label} == MISSED


def test_every_photograph_has_its_source_and_licence_written_down() -> None:
    sources = (GOLDEN / "README.md").read_text()
    assert not [path.name for path in PHOTOGRAPHS if f"| `{path.name}` |" not in sources]
