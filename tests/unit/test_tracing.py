"""BentoML's layers do what it was told to do, and nothing else: spans where somebody receives them, a limit."""

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from bentoml._internal.configuration.containers import BentoMLContainer

from service.tracing import is_wanted

# Of BentoML itself, while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:The `__get_pydantic_core_schema__` method:DeprecationWarning")
OPTIONS = "BENTOML_CONFIG_OVERRIDES"


@pytest.fixture
def service() -> Iterator[Any]:
    """What of a service has to do with its configuration; that of the process is put back."""
    from _bentoml_sdk import Service

    before = deepcopy(BentoMLContainer.config.get())
    found = SimpleNamespace(name="traced", config={"traffic": {"timeout": 60}})
    found.all_services = lambda: {found.name: found}
    found.inject_config = partial(Service.inject_config, found)
    yield found
    BentoMLContainer.config.set(before)


def excluded(service: Any) -> Any:
    """The URLs without spans in the configuration that BentoML would serve with."""
    service.inject_config()
    return BentoMLContainer.config.tracing.excluded_urls.get()


def test_without_an_exporter_no_request_has_a_span(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OPTIONS, raising=False)
    assert is_wanted(service) is False
    assert excluded(service) == ".*"


@pytest.mark.parametrize(
    "options",
    [{"tracing": {"exporter_type": "otlp"}}, {"traced": {"tracing": {"exporter_type": "otlp"}}}],
    ids=["of all services", "of this one"],
)
def test_with_an_exporter_every_request_has_one(service: Any, options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTIONS, json.dumps({"services": options}))
    assert is_wanted(service) is True
    assert excluded(service) is None


def test_a_limit_that_bentoml_was_told_to_keep_is_left_to_its_layers(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OPTIONS, json.dumps({"services": {"traced": {"traffic": {"max_concurrency": 7}}}}))
    assert is_wanted(service) is True
    assert excluded(service) == ".*"
