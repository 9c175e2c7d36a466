"""The BentoML service: resolve the model, load an engine, hand requests to the routes."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import bentoml
from bentoml.exceptions import BentoMLException
from bentoml.models import BentoModel

from export import bundle
from service import bentoml_layers, logs, serving, settings, stopping
from service.cores import plan
from service.http import access, layers, routes
from service.metrics import Metrics
from service.model import resolve_tag
from service.pictures.answers import DEFAULT_TOP_K
from service.pictures.classify import Upload

# BentoML configures the root logger at WARNING; which engine serves should be seen.
logging.getLogger("alexnet").setLevel(logging.INFO)

try:
    SETTINGS = settings.from_environment(os.environ)
except settings.SettingsError as error:
    raise BentoMLException(str(error)) from None  # BentoML prints this as one line
TAG = resolve_tag(SETTINGS.model)
PLAN = plan(SETTINGS)

if SETTINGS.access_log:
    access.log_to_stdout()
if SETTINGS.json_log:
    logs.as_json()
app = routes.build_app()


@bentoml.service(
    name="alexnet",
    workers=PLAN.workers,
    # Ours have templates of routes as labels; BentoML's take every path a client may think of.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    # Ours answers first, in the form of every refusal.
    traffic={"timeout": SETTINGS.request_seconds + 60},
)
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
        # By its place, as in an image the Bento itself is the store of its model.
        model = bentoml.models.get(TAG).path
        check = subprocess.run(
            [sys.executable, "-m", "service", "check", "--bundle", model],
            cwd=source,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        if check.returncode:
            lines = check.stderr.strip().splitlines() or [f"the check of the engine ended with {check.returncode}"]
            raise BentoMLException(lines[-1].removeprefix("error: "))

    def __init__(self) -> None:
        self._bundle = bundle.read(Path(self.model.path))
        worker = bentoml.server_context.worker_index
        self._metrics = Metrics(str(worker))
        os.environ.update(PLAN.environment(worker))
        self._engines = serving.load(SETTINGS, PLAN, self._bundle, self._metrics)

    @bentoml.on_startup
    async def start(self) -> None:
        """Begin to serve, before BentoML says that the worker is ready."""
        app.state.serving = serving.start(self._engines, PLAN, self._bundle, SETTINGS, self._metrics)
        # What BentoML runs at shutdown it runs after the last request, however long that takes.
        stopping.after_signal(SETTINGS.shutdown_seconds, app.state.serving.grace.end)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Finish what waits."""
        await serving.stop(app.state.serving)

    @bentoml.api
    async def classify(self, images: list[Path], top_k: int = DEFAULT_TOP_K) -> dict[str, Any]:
        """Classify pictures.

        Over HTTP the route of the same name answers instead, with the same answer; this is what BentoML's clients
        take the names and types from, and what other BentoML services in this process call.
        """
        uploads = [Upload(path.name, path.read_bytes()) for path in images]
        deadline = time.monotonic() + SETTINGS.request_seconds
        return await routes.answer(uploads, app.state.serving, top_k, deadline)


# The decorator has made it BentoML's Service, which its annotation does not tell.
SERVICE = cast(Any, AlexNetService)
bentoml_layers.without_spans(SERVICE)
SERVICE.add_asgi_middleware(layers.in_front, ours=app, bypass=not bentoml_layers.are_asked_for(SERVICE))
