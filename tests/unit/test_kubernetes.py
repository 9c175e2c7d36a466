"""The manifests are what Kubernetes takes, agree with each other, and give a pod what the service needs and no more."""

from typing import Any

import kubernetes_validate
import pytest

from service.settings import Settings
from tests.unit.manifests import KUBERNETES, containers, is_deployment, manifests, read

VARIANTS = ("base", "gpu")
# The oldest with everything that is used here, and the newest that the schemas know.
VERSIONS = ("1.27", kubernetes_validate.latest_version())
LABEL = {"app.kubernetes.io/name": "alexnet"}


def the(kind: str, variant: str = "base") -> Any:
    (found,) = [document for document in manifests(variant) if document["kind"] == kind]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_manifest_fits_its_schema_strictly(variant: str, version: str) -> None:
    documents = manifests(variant)
    assert len(documents) == 5
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_notice_a_field_that_does_not_exist() -> None:
    document = the("Service")
    document["spec"]["selectors"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[0], strict=True)


def test_all_of_them_mean_the_same_pods() -> None:
    deployment = the("Deployment")["spec"]
    assert deployment["template"]["metadata"]["labels"] == LABEL
    assert deployment["selector"]["matchLabels"] == LABEL
    assert the("Service")["spec"]["selector"] == LABEL
    assert the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == LABEL
    assert the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == LABEL
    target = the("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", the("Deployment")["metadata"]["name"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pod_is_not_root_cannot_write_but_to_tmp_and_has_no_privileges(variant: str) -> None:
    pod = the("Deployment", variant)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]  # noqa: S108 - in the container


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_probe_asks_the_port_that_the_service_goes_to(variant: str) -> None:
    (container,) = containers(the("Deployment", variant))
    (port,) = container["ports"]
    assert the("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in asked.values()} == {port["name"]}
    paths = [asked[name]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert paths == ["/readyz", "/readyz", "/livez"]


def test_a_pod_that_ends_has_time_to_finish_what_it_has_begun() -> None:
    pod = the("Deployment")["spec"]["template"]["spec"]
    waits = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > waits + Settings.shutdown_seconds


def test_a_new_version_takes_no_replica_away_before_its_own_are_ready() -> None:
    assert the("Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert the("HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2
    assert "replicas" not in the("Deployment")["spec"]


def test_there_is_a_core_for_each_worker() -> None:
    (container,) = containers(the("Deployment"))
    workers = {entry["name"]: entry["value"] for entry in container["env"]}["ALEXNET_WORKERS"]
    assert container["resources"]["limits"]["cpu"] == container["resources"]["requests"]["cpu"] == workers


def test_the_gpu_variant_asks_for_one_gpu_and_one_worker_and_its_own_image() -> None:
    (plain,), (container,) = containers(the("Deployment")), containers(the("Deployment", "gpu"))
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in plain["resources"]["limits"]
    assert container["env"] == [{"name": "ALEXNET_WORKERS", "value": "1"}]
    assert (plain["image"], container["image"]) == ("alexnet-service:cpu", "alexnet-service:gpu")


def test_the_gpu_variant_differs_in_the_deployment_alone() -> None:
    others = [[document for document in manifests(variant) if not is_deployment(document)] for variant in VARIANTS]
    assert others[0] == others[1]


def test_the_autoscaler_goes_by_the_metric_that_the_adapter_makes() -> None:
    (rule,) = read(KUBERNETES / "adapter-values.yaml")["rules"]["custom"]
    (metric,) = the("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]


def test_nothing_leaves_a_pod() -> None:
    policy = the("NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["egress"] == []
