"""A BentoML service that does nothing: how long BentoML itself takes to start."""

import bentoml


@bentoml.service(workers="cpu_count", logging={"access": {"enabled": False}})
class Empty:
    """Does nothing."""

    @bentoml.api
    def nothing(self) -> str:
        """Answer."""
        return "nothing"
