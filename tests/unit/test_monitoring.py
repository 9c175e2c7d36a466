"""Dashboard, alerts and autoscaler ask for what the service really exposes, and Prometheus understands them."""

import asyncio
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.http.errors import REASONS
from service.metrics import Metrics
from tests.unit.fakes import ChannelEngine, client_of, images, png, serving_app
from tests.unit.manifests import DASHBOARD, DEPLOY, dashboard_queries, grouped, queries, read, rule_queries, selected

# What Prometheus adds when it asks, in compose and in Kubernetes.
OF_PROMETHEUS = frozenset({"instance", "job", "namespace", "pod"})
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian's package prometheus) is not installed")


@cache
def exposed() -> dict[str, set[str]]:
    """The labels of every series that a service exposes once it has done everything that it counts."""

    def tell(metrics: Metrics) -> None:
        metrics.failed("first")
        metrics.serves("second", degraded=True)

    async def serve() -> str:
        async with client_of(app := serving_app(ChannelEngine())) as client:
            await client.post("/classify", files=images(png(1), b"text"))
            await client.post("/classify", content=b"text")
            tell(app.state.serving.metrics)
            return (await client.get("/metrics")).text

    families = text_string_to_metric_families(asyncio.run(serve()))
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


@pytest.mark.parametrize("query", queries())
def test_every_series_that_is_asked_for_is_exposed_with_its_labels(query: str) -> None:
    series = selected(query)
    assert series or 'up{job="alexnet"}' in query
    for name, labels in series:
        assert name in exposed(), name
        assert labels <= exposed()[name] | OF_PROMETHEUS, name
    known = set[str]().union(*(exposed()[name] for name, _ in series)) if series else set()
    assert grouped(query) <= known | OF_PROMETHEUS


def family(series: str) -> str:
    """The metric that a series belongs to."""
    return re.sub("_(bucket|sum|count|total|created)$", "", series)


def test_the_dashboard_shows_every_metric_of_the_service() -> None:
    shown = {family(name) for query in dashboard_queries() for name, _ in selected(query)}
    assert shown == {family(name) for name in exposed() if name.startswith("alexnet_")}


def test_every_reason_that_an_alert_names_is_one_of_the_table() -> None:
    (query,) = [query for query in rule_queries() if "reason=~" in query]
    named = query.partition('reason=~"')[2].partition('"')[0].split("|")
    assert set(named) <= set(REASONS)


def test_panels_have_numbers_of_their_own_and_lie_beside_each_other() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    covered = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(covered) == len(set(covered))
    assert max(x for x, _ in covered) < 24


def test_every_panel_asks_the_data_source_that_is_provisioned() -> None:
    (source,) = read(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    asked = [*DASHBOARD["panels"], *DASHBOARD["templating"]["list"]]
    asked += [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert {entry["datasource"]["uid"] for entry in asked} == {source["uid"]}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True)


@needs_promtool
def test_prometheus_takes_its_configuration() -> None:
    checked = promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yaml"))
    assert checked.returncode == 0, checked.stderr
    assert f"{len(list(rule_queries()))} rules found" in checked.stdout


@needs_promtool
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    checked = promtool("check", "rules", str(path))
    assert checked.returncode == 0, checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout
