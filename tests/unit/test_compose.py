"""Compose's files fit its schema, name files that exist, and nginx takes a configuration that fits the service."""

import json
import re
import shutil
import subprocess
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from service.settings import Settings
from tests.unit.manifests import DEPLOY, read

# The file alone: the package would import much else.
VENDORED = distribution("check-jsonschema").locate_file("check_jsonschema/builtin_schemas/vendor/compose-spec.json")
SCHEMA = json.loads(Path(str(VENDORED)).read_text())
COMPOSE: dict[str, Any] = read(DEPLOY / "compose.yaml")
NGINX = (DEPLOY / "nginx.conf").read_text()
PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/bin")


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_fits_its_schema(name: str) -> None:
    jsonschema.validate(read(DEPLOY / name), SCHEMA)


def test_the_schema_notices_what_compose_does_not_know() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"alexnet": {"image": "x", "port": [1]}}}, SCHEMA)


def test_what_is_mounted_exists() -> None:
    mounts = [mount for service in COMPOSE["services"].values() for mount in service.get("volumes", ())]
    named = [mount.partition(":")[0] for mount in mounts]
    assert len([name for name in named if name.startswith("./")]) == 4
    for name in named:
        assert (DEPLOY / name).exists() if name.startswith("./") else name in COMPOSE["volumes"]


def test_what_the_gpu_file_changes_is_there() -> None:
    assert read(DEPLOY / "compose.gpu.yaml")["services"].keys() <= COMPOSE["services"].keys()


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_no_container_has_privileges(service: str) -> None:
    found = COMPOSE["services"][service]
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]


def test_the_service_cannot_write_but_to_tmp_and_has_time_to_stop() -> None:
    found = COMPOSE["services"]["alexnet"]
    assert found["read_only"] is True
    assert [mount.partition(":")[0] for mount in found["tmpfs"]] == ["/tmp"]  # noqa: S108 - in the container
    assert int(found["stop_grace_period"].removesuffix("s")) > Settings.shutdown_seconds


def test_prometheus_asks_the_service_and_grafana_asks_prometheus() -> None:
    (job,) = read(DEPLOY / "prometheus" / "prometheus.yaml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["alexnet:3000"]}]
    assert job["job_name"] == "alexnet"
    (source,) = read(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {"alexnet", "prometheus"} <= COMPOSE["services"].keys()


def value(directive: str) -> str:
    (found,) = re.findall(rf"^\s*{directive} (.+);$", NGINX, re.MULTILINE)
    return str(found)


def test_nginx_takes_what_the_service_takes_and_waits_longer_than_it() -> None:
    assert value("client_max_body_size") == f"{Settings.max_body_mib}m"
    assert f"larger than {Settings.max_body_mib} MiB" in NGINX
    assert int(value("proxy_read_timeout").removesuffix("s")) > Settings.request_seconds


def test_the_problems_that_nginx_tells_are_documents_with_its_status() -> None:
    told = re.findall(r"return (\d+) '(\{.*\})';", NGINX)
    assert [int(status) for status, _ in told] == [413, 429, 502]
    for status, text in told:
        problem = json.loads(text)
        assert problem.keys() == {"type", "title", "status", "detail"}
        assert problem["status"] == int(status)
    assert f"more than {value('limit_req_zone').partition('rate=')[2].removesuffix('r/s')} requests a second" in NGINX


@pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed")
def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    assert PROGRAM is not None
    # The name of the service means something in compose alone; the folder is the one that it gives nginx.
    here = NGINX.replace("alexnet:3000", "127.0.0.1:3000").replace(" /tmp/", f" {tmp_path}/")
    (tmp_path / "nginx.conf").write_text(here)
    checked = subprocess.run([PROGRAM, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "test is successful" in checked.stderr
