"""What Prometheus reads: every request, picture, batch and refusal once, under labels that cannot grow."""

import asyncio
from typing import Any

import httpx
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import Metrics
from tests.unit.fakes import BrokenEngine, client_of, images, png, serving_app

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Every sample by name and labels, of which `worker` must be 1."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            if sample.name.startswith("alexnet_"):
                assert labels.pop("worker") == "1"
                found[sample.name.removeprefix("alexnet_"), frozenset(labels.items())] = sample.value
    return found


def metrics_after(*requests: dict[str, Any], **options: Any) -> tuple[Samples, list[httpx.Response]]:
    """What GET /metrics tells after some requests."""

    async def serve() -> tuple[Samples, list[httpx.Response]]:
        async with client_of(serving_app(**options)) as client:
            answers = [await client.request(**request) for request in requests]
            return samples((await client.get("/metrics")).text), answers

    return asyncio.run(serve())


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def post(*contents: bytes) -> dict[str, Any]:
    return {"method": "POST", "url": "/classify", "files": images(*contents)}


def test_requests_pictures_and_batches_are_counted_once() -> None:
    found, _ = metrics_after(post(png(1), png(2), b"text"), post(png(3)))
    assert value(found, "requests_total", route="/classify", method="POST", status="200") == 2
    assert value(found, "pictures_total", outcome="decoded") == 3
    assert value(found, "pictures_total", outcome="refused") == 1
    assert (value(found, "batch_pictures_count"), value(found, "batch_pictures_sum")) == (2, 3)
    assert value(found, "request_seconds_count", route="/classify") == 2
    for name in ("decode_seconds_count", "inference_seconds_count", "queue_wait_seconds_count"):
        assert value(found, name) == 2, name
    assert value(found, "queue_pictures") == 0


def test_refusals_are_counted_by_their_reason() -> None:
    wrong = {"method": "POST", "url": "/classify?top_k=9", "content": png(1)}
    found, answers = metrics_after(post(b"text"), wrong, {"method": "GET", "url": "/classify"})
    assert [answer.status_code for answer in answers] == [400, 422, 405]
    reasons = ("bad_pictures", "unprocessable", "method_not_allowed")
    assert [value(found, "refusals_total", reason=reason) for reason in reasons] == [1, 1, 1]
    assert value(found, "requests_total", route="/classify", method="POST", status="422") == 1


def test_paths_and_methods_that_a_client_invents_are_no_labels() -> None:
    odd = [{"method": "GET", "url": f"/{number}"} for number in range(20)]
    odd += [{"method": f"ODD{number}", "url": "/classify"} for number in range(20)]
    found, _ = metrics_after(*odd)
    assert value(found, "requests_total", route="none", method="GET", status="404") == 20
    assert value(found, "requests_total", route="/classify", method="other", status="405") == 20
    assert len([name for name, _ in found if name == "requests_total"]) == 2


def test_the_engine_in_use_is_told() -> None:
    found, _ = metrics_after()
    assert value(found, "engine", engine="channel-fake") == 1
    assert (value(found, "degraded"), value(found, "failovers_total")) == (0, 0)


def test_an_engine_that_fails_again_and_again_is_seen_to_be_replaced() -> None:
    first, second = BrokenEngine(), BrokenEngine()
    first.name, second.name = "first", "second"
    second.run = super(BrokenEngine, second).run  # type: ignore[method-assign]
    found, answers = metrics_after(*[post(png(1))] * 3, engine=first, fallback=second)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert value(found, "engine_failures_total", engine="first") == 3
    assert (value(found, "degraded"), value(found, "failovers_total")) == (1, 1)
    assert (value(found, "engine", engine="first"), value(found, "engine", engine="second")) == (0, 1)


def test_the_first_engine_that_is_back_is_told_and_is_no_failover() -> None:
    metrics = Metrics("1", CollectorRegistry())
    metrics.serves("first", degraded=False)
    metrics.serves("second", degraded=True)
    metrics.serves("first", degraded=False)
    found = samples(metrics.text().decode())
    assert (value(found, "engine", engine="first"), value(found, "engine", engine="second")) == (1, 0)
    assert (value(found, "degraded"), value(found, "failovers_total")) == (0, 1)
