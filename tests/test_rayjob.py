"""The example for Kubernetes against the parts of KubeRay's and Kubernetes' schemas that it uses.

Written from KubeRay's Go types (ray-operator/apis/ray/v1/rayjob_types.go, raycluster_types.go) and
the API reference of Kubernetes' core/v1. Nothing here has run on a cluster.
"""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

MANIFEST = Path(__file__).parent.parent / "docs/rayjob.yaml"
TEXT, COUNT, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
WORDS = {"type": "object", "additionalProperties": TEXT}


def thing(required: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": fields,
    }


def list_of(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items} | more


QUANTITY = {"type": "string", "pattern": r"^\d+(\.\d+)?(m|k|[KMGTP]i?)?$"}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}
SECRET = thing("secretKeyRef", secretKeyRef=thing("name key", name=TEXT, key=TEXT))
CONTAINER = thing(
    "name image",
    name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
    image=TEXT,
    resources=thing(limits=QUANTITIES, requests=QUANTITIES),
    env=list_of(thing("name", name=TEXT, value=TEXT, valueFrom=SECRET)),
    volumeMounts=list_of(thing("name mountPath", name=TEXT, mountPath=TEXT, readOnly=FLAG)),
)
VOLUME = thing(
    "name",
    name=TEXT,
    persistentVolumeClaim=thing("claimName", claimName=TEXT, readOnly=FLAG),
    configMap=thing("name", name=TEXT),
) | {"minProperties": 2, "maxProperties": 2}
POD = thing(
    "spec",
    spec=thing("containers", containers=list_of(CONTAINER, minItems=1), volumes=list_of(VOLUME)),
)
HEAD = thing("template", rayStartParams=WORDS, template=POD)
WORKERS = thing(
    "groupName maxReplicas minReplicas template",
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=WORDS,
    template=POD,
)
SPEC = thing(
    entrypoint=TEXT,
    entrypointNumCpus={"type": "number"},
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    rayClusterSpec=thing(
        "headGroupSpec", rayVersion=TEXT, headGroupSpec=HEAD, workerGroupSpecs=list_of(WORKERS)
    ),
)
RAY_JOB = thing(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=thing("name", name=TEXT),
    spec=SPEC,
)


@pytest.fixture
def manifest() -> dict[str, Any]:
    return yaml.safe_load(MANIFEST.read_text())


def test_the_manifest_is_a_ray_job_and_says_that_it_is_untried(manifest: dict[str, Any]):
    jsonschema.Draft202012Validator.check_schema(RAY_JOB)
    jsonschema.validate(manifest, RAY_JOB)
    assert "UNTRIED" in MANIFEST.read_text()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: m.update(apiVersion="ray.io/v1alpha1"),
        lambda m: m["spec"].update(submissionMode="http"),
        lambda m: m["spec"]["rayClusterSpec"].pop("headGroupSpec"),
        lambda m: m["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].update(groupname="gpu"),
        lambda m: m["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update(cpus=1),
    ],
)
def test_the_schema_sees_mistakes(manifest: dict[str, Any], spoil: Any):
    wrong = copy.deepcopy(manifest)
    spoil(wrong)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, RAY_JOB)


def test_every_volume_that_is_mounted_is_there_and_the_home_outlives_the_job(
    manifest: dict[str, Any],
):
    cluster = manifest["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    (home,) = [v["value"] for v in head["env"] if v["name"] == "BENCH_HOME"]
    (mount,) = [m for m in head["volumeMounts"] if m["mountPath"] == home]
    volumes = {v["name"]: v for v in cluster["headGroupSpec"]["template"]["spec"]["volumes"]}
    assert "persistentVolumeClaim" in volumes[mount["name"]]
    # addresses hold passwords: they come from a secret
    for variable in head["env"]:
        assert variable["name"] not in ("MLFLOW_TRACKING_URI", "BENCH_OPTUNA_STORAGE") or (
            "valueFrom" in variable
        )
