"""OpenTelemetry spans, which BentoML makes of every request, only where somebody receives them."""

from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer


def only_with_exporter(service: Any) -> None:
    """Let a BentoML service make no spans where BentoML's own settings name no exporter for them.

    Without one a span is made, filled and thrown away, which takes longer than reading the form of a small picture.
    """
    # Merges what the service says with BENTOML_CONFIG and BENTOML_CONFIG_OPTIONS, as BentoML does before it serves.
    service.inject_config()
    if BentoMLContainer.config.tracing.exporter_type.get() is None:
        service.config["tracing"] = {"excluded_urls": ".*"}
