"""LitServe with a worker for each core, its fast queue and batches of the requests of 10 ms, as its guides advise."""

import argparse
import os
from typing import Any, cast

import litserve
import numpy as np
from starlette.datastructures import FormData
from starlette.requests import Request

from benchmarks.serving.peers.common import Classifier
from training.pixels import Pixels


class Api(litserve.LitAPI):
    """Pictures of a form in, predictions out."""

    def setup(self, _: str) -> None:
        """Load the model in a worker."""
        self._classifier = Classifier()

    def decode_request(self, request: Request) -> Pixels:
        """The pictures of one request, of which LitServe hands over the form."""
        form = cast(FormData, request)
        files = [part.file for part in form.getlist("images") if not isinstance(part, str)]
        return np.stack([self._classifier.decode(file) for file in files])

    def batch(self, inputs: list[Pixels]) -> list[Pixels]:
        """Requests may have several pictures, so that they cannot be stacked."""
        return inputs

    def predict(self, x: list[Pixels]) -> list[Any]:
        """The probabilities of each request."""
        found = self._classifier.probabilities(np.concatenate(x))
        return np.split(found, np.cumsum([len(pictures) for pictures in x])[:-1])

    def unbatch(self, output: list[Any]) -> list[Any]:
        """They are apart already."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """The answer to one request."""
        return {"predictions": self._classifier.predictions(output)}


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.peers.lit")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    api = Api(max_batch_size=64, batch_timeout=0.01, api_path="/classify")
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=os.cpu_count() or 1, fast_queue=True
    )
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
