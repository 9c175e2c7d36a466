"""What the service counts and measures, for Prometheus: every name and label is here.

Labels take few values: the worker, templates of routes, reasons of the table in `http.errors`, names of engines.
"""

import os

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

# From a small picture on a fast machine to the deadline of a request.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
PICTURES = tuple(float(1 << power) for power in range(11))
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # of files that all workers' metrics are merged from, where BentoML set it
METHODS = frozenset({"GET", "HEAD", "POST"})


def _once_the_process() -> None:
    """Let prometheus_client ask once and not at every change for the process it is in: a worker never forks."""
    name = f"{os.getpid()}-alexnet"  # a file of its own, as BentoML may have made one by the number alone
    values.ValueClass = values.MultiProcessValue(lambda: name)


class Metrics:
    """The metrics of one worker. Is the observer of a batcher and of a failover; may be told things on any thread.

    `registry` holds no metrics of another worker; Prometheus names must be unique in it.
    """

    def __init__(self, worker: str, registry: CollectorRegistry = REGISTRY) -> None:
        self.worker, self._registry = worker, registry
        if DIRECTORY in os.environ:
            _once_the_process()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"alexnet_{name}", text, ["worker", *labels], registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            # Of processes that had the same worker's number, the last one tells.
            names = ["worker", *labels]
            return Gauge(f"alexnet_{name}", text, names, registry=registry, multiprocess_mode="mostrecent")

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS) -> Histogram:
            return Histogram(f"alexnet_{name}", text, ["worker", *labels], registry=registry, buckets=buckets)

        self._requests = counter("requests", "Requests answered", "route", "method", "status")
        self._request_seconds = histogram("request_seconds", "From a request's first byte to its answer", "route")
        self._refusals = counter("refusals", "Requests refused", "reason")
        self._pictures = counter("pictures", "Pictures answered, or refused for themselves", "outcome")
        self._engines = gauge("engine", "1 for the engine in use", "engine")
        self._failures = counter("engine_failures", "Batches that an engine failed on", "engine")
        self._decode = histogram("decode_seconds", "Decoding all pictures of a request").labels(worker)
        self._inference = histogram("inference_seconds", "A batch in the engine").labels(worker)
        self._batch = histogram("batch_pictures", "Pictures in a batch", buckets=PICTURES).labels(worker)
        self._queue = gauge("queue_pictures", "Pictures that wait for the engine").labels(worker)
        self._wait = histogram("queue_wait_seconds", "From a request's arrival in the queue to the engine").labels(
            worker
        )
        self._degraded = gauge("degraded", "1 while the fallback serves in place of the first engine").labels(worker)
        self._failovers = counter("failovers", "Times that the fallback took over").labels(worker)
        self._engine: str | None = None

    def request(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the template of its path, None where there is nothing at that path."""
        route = route or "none"
        self._requests.labels(self.worker, route, method if method in METHODS else "other", str(status)).inc()
        self._request_seconds.labels(self.worker, route).observe(seconds)

    def refused(self, reason: str) -> None:
        """A request got a problem document."""
        self._refusals.labels(self.worker, reason).inc()

    def decoded(self, good: int, bad: int, seconds: float) -> None:
        """The pictures of a request were decoded, or could not be."""
        if good:
            self._pictures.labels(self.worker, "decoded").inc(good)
        if bad:
            self._pictures.labels(self.worker, "refused").inc(bad)
        self._decode.observe(seconds)

    def queued(self, pictures: int) -> None:
        """So many pictures wait now."""
        self._queue.set(pictures)

    def waited(self, seconds: float) -> None:
        """The last picture of a request went to the engine so long after the request came."""
        self._wait.observe(seconds)

    def ran(self, pictures: int, seconds: float) -> None:
        """The engine took so long for a batch, or to fail on it."""
        self._batch.observe(pictures)
        self._inference.observe(seconds)

    def failed(self, engine: str) -> None:
        """An engine failed on a batch."""
        self._failures.labels(self.worker, engine).inc()

    def serves(self, engine: str, degraded: bool) -> None:
        """This engine serves from now on; `degraded` where it stands in for the first one."""
        if self._engine is not None:
            self._engines.labels(self.worker, self._engine).set(0)
        self._engine = engine
        self._engines.labels(self.worker, engine).set(1)
        self._degraded.set(degraded)
        self._failovers.inc(degraded)

    def text(self) -> bytes:
        """In the format of Prometheus: of all workers that share PROMETHEUS_MULTIPROC_DIR, where BentoML set it."""
        if DIRECTORY not in os.environ:
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)
        return generate_latest(merged)
