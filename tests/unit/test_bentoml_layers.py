"""BentoML's layers do what its own settings ask for and nothing else, such as spans that nobody receives."""

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from bentoml._internal.configuration.containers import BentoMLContainer

from service.bentoml_layers import are_asked_for, without_spans

# Of BentoML itself, while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:The `__get_pydantic_core_schema__` method:DeprecationWarning")
OPTIONS = "BENTOML_CONFIG_OVERRIDES"
# What our service says of itself.
SAID = {"traffic": {"timeout": 80}, "metrics": {"enabled": False}, "logging": {"access": {"enabled": False}}}


@pytest.fixture
def service() -> Iterator[Any]:
    """What of a service has to do with its configuration; that of the process is put back."""
    from _bentoml_sdk import Service

    before = deepcopy(BentoMLContainer.config.get())
    found = SimpleNamespace(name="traced", config=deepcopy(SAID))
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
    without_spans(service)
    assert excluded(service) == ".*"


@pytest.mark.parametrize(
    "options",
    [{"tracing": {"exporter_type": "otlp"}}, {"traced": {"tracing": {"exporter_type": "otlp"}}}],
    ids=["of all services", "of this one"],
)
def test_with_an_exporter_every_request_has_one(service: Any, options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTIONS, json.dumps({"services": options}))
    without_spans(service)
    assert excluded(service) is None
    assert are_asked_for(service)


def test_its_layers_have_nothing_to_do_where_nobody_asks(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OPTIONS, raising=False)
    assert not are_asked_for(service)


@pytest.mark.parametrize(
    "options",
    [
        {"traffic": {"max_concurrency": 7}},
        {"traffic": {"timeout": 2}},
        {"metrics": {"enabled": True}},
        {"logging": {"access": {"enabled": True}}},
    ],
    ids=str,
)
def test_what_its_settings_want_is_left_to_its_layers(
    options: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OPTIONS, json.dumps({"services": {"traced": options}}))
    assert are_asked_for(service)
