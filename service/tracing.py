"""What BentoML would do around every request, only where somebody asked for it: spans, and a limit of its own."""

from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer


def is_wanted(service: Any) -> bool:
    """Whether BentoML's own settings name an exporter of spans, or a limit of requests for its layer to keep.

    A service without an exporter is told to make no spans: each would be made, filled and thrown away, which takes
    longer than reading the form of a small picture.
    """
    # Merges what the service says with BENTOML_CONFIG and BENTOML_CONFIG_OPTIONS, as BentoML does before it serves.
    service.inject_config()
    exports = BentoMLContainer.config.tracing.exporter_type.get() is not None
    if not exports:
        service.config["tracing"] = {"excluded_urls": ".*"}
    return exports or BentoMLContainer.api_server_config.traffic.max_concurrency.get() is not None
