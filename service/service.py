"""The BentoML service: resolve the model, load an engine, hand requests to the routes."""

import logging
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException
from bentoml.models import BentoModel

from export import bundle
from service import engines, routes, settings
from service.model import resolve_tag

# BentoML configures the root logger at WARNING; which engine serves should be seen.
logging.getLogger("alexnet").setLevel(logging.INFO)

try:
    SETTINGS = settings.from_environment(os.environ)
except settings.SettingsError as error:
    raise BentoMLException(str(error)) from None  # BentoML prints this as one line
TAG = resolve_tag(SETTINGS.model)

app = routes.build_app()


@bentoml.asgi_app(routes.hidden(app), path="/")
@bentoml.service(name="alexnet", workers=1)
class AlexNetService:
    """Classifies pictures with the model of one bundle."""

    # An exact tag, never `latest`: what BentoML packs is what is served.
    model = BentoModel(TAG)

    @bentoml.on_deployment
    @staticmethod
    def refuse_early() -> None:
        """Check model and engine before any worker starts: BentoML restarts a worker that fails without end."""
        # In a process of its own, because a CUDA context would stay in the parent for good; from this very code,
        # wherever `bentoml serve` was started.
        source = Path(__file__).resolve().parents[1]
        path = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
        check = subprocess.run(
            [sys.executable, "-m", "service", "check"],
            cwd=source,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        if check.returncode:
            lines = check.stderr.strip().splitlines() or [f"the check of the engine ended with {check.returncode}"]
            raise BentoMLException(lines[-1].removeprefix("error: "))

    def __init__(self) -> None:
        served = bundle.read(Path(self.model.path))
        choice = engines.choose(SETTINGS.engine, served, partial(engines.load, variant=SETTINGS.variant))
        app.state.serving = routes.Serving(served, choice, SETTINGS)
