"""What the tests of deploy/ share: its files, and what Kubernetes and Prometheus would see of them."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "alexnet.json").read_text())


def read(path: Path) -> Any:
    """The one document of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def manifests(variant: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` of a folder applies, as far as kustomize does no more than these folders ask of it."""
    folder = KUBERNETES / variant
    asked = read(folder / "kustomization.yaml")
    assert asked.keys() <= {"apiVersion", "kind", "resources", "images", "patches"}
    found: list[dict[str, Any]] = []
    for name in asked["resources"]:
        found += [read(folder / name)] if name.endswith(".yaml") else manifests((folder / name).resolve().name)
    for patch in asked.get("patches", ()):
        (place,) = [place for place, document in enumerate(found) if is_target(document, patch["target"])]
        found[place] = patched(found[place], read(folder / patch["path"]))
    tags = {image["name"]: f"{image['name']}:{image['newTag']}" for image in asked["images"]}
    for document in found:
        for container in containers(document):
            container["image"] = tags[container["image"].partition(":")[0]]
    return found


def is_target(document: dict[str, Any], target: dict[str, str]) -> bool:
    """Whether a patch for `target` is for this document."""
    return (document["kind"], document["metadata"]["name"]) == (target["kind"], target["name"])


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a Deployment; none of other documents."""
    found: list[dict[str, Any]] = document["spec"]["template"]["spec"]["containers"] if is_deployment(document) else []
    return found


def is_deployment(document: dict[str, Any]) -> bool:
    """Whether it has pods."""
    return bool(document["kind"] == "Deployment")


def patched(document: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """The document after a JSON patch (RFC 6902) of the operations test, add and replace."""
    result = copy.deepcopy(document)
    for operation in operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place: Any = result
        for part in way:
            place = place[int(part) if isinstance(place, list) else part]
        key = int(last) if isinstance(place, list) else last
        if operation["op"] == "test":
            assert place[key] == operation["value"], operation
            continue
        assert operation["op"] == "add" or key in place, operation
        place[key] = operation["value"]
    return result


def dashboard_queries() -> Iterator[str]:
    """Every query of the dashboard, with a duration where Grafana puts one in, and any instance."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")


def rule_queries() -> Iterator[str]:
    """Every query of an alert."""
    for group in read(DEPLOY / "prometheus" / "rules.yaml")["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def adapter_queries() -> Iterator[str]:
    """Every query of the autoscaler's metric, as prometheus-adapter asks it for some pods."""
    for rule in read(KUBERNETES / "adapter-values.yaml")["rules"]["custom"]:
        yield rule["seriesQuery"]
        pods = 'namespace="default",pod=~"alexnet-1|alexnet-2"'
        yield rule["metricsQuery"].replace("<<.LabelMatchers>>", pods).replace("<<.GroupBy>>", "pod")


def queries() -> list[str]:
    """All of them."""
    return [*dashboard_queries(), *rule_queries(), *adapter_queries()]


def selected(query: str) -> list[tuple[str, set[str]]]:
    """The series that a query selects: name, and the labels that it compares."""
    found = re.findall(r"(alexnet_\w+)(?:\{([^}]*)\})?", query)
    return [(name, set(re.findall(r"(\w+)\s*(?:=~|!=|=|!~)", matchers))) for name, matchers in found]


def grouped(query: str) -> set[str]:
    """The labels that a query groups by."""
    return {label.strip() for listed in re.findall(r"\bby \(([^)]*)\)", query) for label in listed.split(",")}
