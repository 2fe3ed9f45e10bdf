"""What is shipped for containers and Kubernetes is valid, runs as an ordinary user, and holds no secret."""

import json
import re
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "deployments"
MANIFESTS = sorted((FOLDER / "kubernetes").glob("*.yaml"))
SECRET = re.compile(r"(sk-|hf_|ghp_|AKIA)[A-Za-z0-9]{8,}|(?i:api_key|password|token)\s*[:=]\s*[\"']?[A-Za-z0-9]{8,}")


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_every_manifest_is_valid(file: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for manifest in yaml.safe_load_all(file.read_text()):
        validate.validate(manifest, "1.30", strict=True)


def test_containers_run_as_nobody_special_and_hold_no_secret() -> None:
    image = (FOLDER / "Dockerfile").read_text()
    assert re.findall(r"^USER (\d+)", image, re.MULTILINE)[-1] != "0" and "HEALTHCHECK" in image
    assert all(re.search(r":\d+\.\d+\.\d+", line) for line in image.splitlines() if line.startswith("FROM "))
    for file in (FOLDER / "Dockerfile", *(FOLDER / "kubernetes").iterdir()):
        assert not SECRET.search(file.read_text()), file


def test_the_job_template_names_only_variables_it_has() -> None:
    template = json.loads((FOLDER / "kubernetes/job-template.json").read_text())
    named = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert named <= set(template["variables"]["properties"])
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
