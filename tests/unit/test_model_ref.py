"""Which model is served: one exact tag, whatever was asked for."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import pytest
import yaml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from bentoml.exceptions import BentoMLException

from service import model
from service.model import VARIABLE, resolve_tag

OLDER, NEWER = "alexnet:aaaaaaaaaaaa", "alexnet:bbbbbbbbbbbb"


@pytest.fixture(autouse=True)
def restored_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """resolve_tag sets the variable; after the test it is what it was before."""
    monkeypatch.setenv(VARIABLE, "unset")
    monkeypatch.delenv(VARIABLE)


@pytest.fixture(autouse=True)
def empty_store(tmp_path: Path) -> Iterator[None]:
    """A model store of this test's own."""
    BentoMLContainer.model_store.set(ModelStore(tmp_path))
    yield
    BentoMLContainer.model_store.reset()


@pytest.fixture
def two_models() -> None:
    """Two models in the store; the newer one is the latest."""
    for tag in (OLDER, NEWER):
        with bentoml.models.create(tag):
            pass


@pytest.fixture
def bento(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a built Bento, out of whose `src` the service runs."""
    monkeypatch.setattr(model, "__file__", str(tmp_path / "src" / "service" / "model.py"))
    return tmp_path


def describe(bento: Path, *tags: str) -> None:
    document: dict[str, Any] = {"models": [], "services": [{"models": [{"tag": tag} for tag in tags]}]}
    (bento / "bento.yaml").write_text(yaml.safe_dump(document))


@pytest.mark.usefixtures("two_models")
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(OLDER, OLDER), (NEWER, NEWER), ("alexnet:latest", NEWER), ("alexnet", NEWER), (None, NEWER)],
)
def test_what_was_asked_for_becomes_one_exact_tag(wanted: str | None, expected: str) -> None:
    assert resolve_tag(wanted) == expected


@pytest.mark.usefixtures("two_models")
def test_worker_processes_inherit_the_exact_tag() -> None:
    resolve_tag("alexnet:latest")
    assert os.environ[VARIABLE] == NEWER


@pytest.mark.parametrize(
    "wanted", [None, "alexnet:cccccccccccc", "other:latest", "a b:c/d", "::", "ALEXNET", "a b", "models/none"]
)
def test_a_missing_model_is_one_line_that_says_what_to_do(wanted: str | None) -> None:
    with pytest.raises(BentoMLException) as refusal:
        resolve_tag(wanted)
    message = str(refusal.value)
    assert message.startswith(f"there is no model {wanted or 'alexnet:latest'} in the BentoML store: run `make serve`")
    assert "\n" not in message
    assert VARIABLE not in os.environ


@pytest.mark.usefixtures("two_models")
@pytest.mark.parametrize("wanted", [None, OLDER])
def test_a_bento_serves_the_model_it_was_built_with_and_not_the_latest(bento: Path, wanted: str | None) -> None:
    describe(bento, OLDER, "other:1")
    assert resolve_tag(wanted) == OLDER


@pytest.mark.usefixtures("two_models")
def test_a_model_is_packed_where_bentoml_lists_it_for_the_whole_bento(bento: Path) -> None:
    (bento / "bento.yaml").write_text(yaml.safe_dump({"models": [{"tag": OLDER}]}))
    assert resolve_tag(None) == OLDER


@pytest.mark.usefixtures("two_models")
def test_a_bento_refuses_to_serve_another_model(bento: Path) -> None:
    describe(bento, OLDER)
    with pytest.raises(BentoMLException, match=f"built with {OLDER}; it cannot serve {VARIABLE}={NEWER}"):
        resolve_tag(NEWER)


@pytest.mark.parametrize("tags", [(), ("other:1",), (OLDER, NEWER)])
def test_a_bento_that_names_no_model_or_two_is_refused(bento: Path, tags: tuple[str, ...]) -> None:
    describe(bento, *tags)
    with pytest.raises(BentoMLException, match="not one; build the Bento again"):
        resolve_tag(None)


@pytest.mark.usefixtures("two_models", "bento")
def test_a_folder_called_src_without_a_description_is_no_bento() -> None:
    assert resolve_tag(None) == NEWER


@pytest.mark.usefixtures("two_models")
def test_a_description_beside_another_folder_is_no_bento(bento: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    describe(bento, OLDER)
    monkeypatch.setattr(model, "__file__", str(bento / "elsewhere" / "service" / "model.py"))
    assert resolve_tag(None) == NEWER
