"""The layers that BentoML puts around every request: which of them were asked for."""

from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer


def without_spans(service: Any) -> None:
    """Let a BentoML service make no spans where BentoML's own settings name no exporter for them.

    Without one a span is made, filled and thrown away, which takes longer than reading the form of a small picture.
    """
    _merge_settings(service)
    if not _exports():
        service.config["tracing"] = {"excluded_urls": ".*"}


def are_asked_for(service: Any) -> bool:
    """Whether BentoML's own settings want anything of its layers that the service itself does not say."""
    _merge_settings(service)
    found = BentoMLContainer.api_server_config
    return (
        _exports()
        or found.metrics.enabled.get()
        or found.logging.access.enabled.get()
        or found.traffic.max_concurrency.get() is not None
        or found.traffic.timeout.get() != service.config["traffic"]["timeout"]
    )


def _merge_settings(service: Any) -> None:
    """What the service says, with BENTOML_CONFIG and BENTOML_CONFIG_OVERRIDES, as BentoML does before it serves."""
    service.inject_config()


def _exports() -> bool:
    return BentoMLContainer.config.tracing.exporter_type.get() is not None
