"""The files in deploy are what their programs read, and keep what they promise: no root, keys apart, data read-only."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
COMPOSE = sorted((DEPLOY / "docker").glob("*.compose.yaml"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def _run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=600, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# systemd --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_a_unit_without_a_word(unit: Path, tmp_path: Path) -> None:
    # The program is not where the unit expects it on a machine that was set up.
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/fmtl/.venv/bin/fmtl", "/bin/true"))
    assert _run("systemd-analyze", "verify", copy).strip() == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_gives_no_rights_but_one_folder(unit: Path) -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    wanted = {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ReadWritePaths": "/var/lib/fmtl"}
    wanted |= {"PrivateTmp": "yes", "CapabilityBoundingSet": "", "User": "fmtl", "ProtectHome": "yes"}
    assert {key: settings.get(key) for key in wanted} == wanted
    assert settings["Restart"] == "on-failure"
    # What `fmtl server start` and `fmtl site start` exit with after SIGTERM is no failure.
    assert settings["SuccessExitStatus"] == "143"


def test_the_unit_of_a_site_leaves_the_gpu_open() -> None:
    text = (DEPLOY / "systemd/fmtl-site@.service").read_text()
    for closing in ("PrivateDevices", "ProtectClock", "DeviceAllow", "DevicePolicy", "MemoryDenyWriteExecute"):
        assert f"\n{closing}=" not in text


# Docker ---------------------------------------------------------------------------------------------------------------


def _example(compose: Path) -> dict[str, str]:
    text = compose.with_name(compose.name.replace(".compose.yaml", ".env.example")).read_text()
    return dict(re.findall(r"^(\w+)=(.+)$", text, re.MULTILINE))


@pytest.mark.parametrize("compose", COMPOSE, ids=lambda path: path.name)
def test_docker_compose_reads_the_file(compose: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    assert _run(docker, "compose", "--file", compose, "config", "--quiet", **_example(compose)) == ""


@pytest.mark.parametrize("compose", COMPOSE, ids=lambda path: path.name)
def test_every_variable_of_a_compose_file_is_explained_and_no_other(compose: Path) -> None:
    used = set(re.findall(r"\$\{(\w+)", compose.read_text()))
    assert used == set(_example(compose))


@pytest.mark.parametrize("compose", COMPOSE, ids=lambda path: path.name)
def test_a_container_has_no_rights_and_writes_one_folder(compose: Path) -> None:
    (service,) = yaml.safe_load(compose.read_text())["services"].values()
    assert service["user"] == "${FMTL_UID:?}:${FMTL_GID:?}"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["stop_signal"] == "SIGTERM"
    assert "healthcheck" in service
    writable = [volume["target"] for volume in service["volumes"] if not volume.get("read_only")]
    assert writable in (["/coordinator"], ["/site/state"])


def test_keys_are_secrets_and_the_authoritys_never_enters() -> None:
    texts = {path.name: path.read_text() for path in COMPOSE}
    for text in texts.values():
        content = yaml.safe_load(text)
        (service,) = content["services"].values()
        assert {secret["source"] for secret in service["secrets"]} == set(content["secrets"])
        assert all(".key" not in volume["source"] for volume in service["volumes"])
    assert "ca.key" not in re.sub(r"#.*", "", texts["coordinator.compose.yaml"])


def test_a_site_reserves_a_gpu_and_publishes_no_port() -> None:
    service = yaml.safe_load((DEPLOY / "docker/site.compose.yaml").read_text())["services"]["site"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "ports" not in service


def test_the_image_holds_every_package_and_what_it_copies_exists() -> None:
    text = (DEPLOY / "docker/Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for word in line.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "fmtl_datasets"}
    assert packages <= copied
    ignored = (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)


# Kubernetes -----------------------------------------------------------------------------------------------------------


def _documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.skipif(importlib.util.find_spec("kubernetes") is None, reason="Kubernetes' Python client is not installed")
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_every_field_is_one_that_kubernetes_knows(manifest: Path) -> None:
    for document in _documents(manifest):
        _check_fields(document, f"V1{document['kind']}", document["kind"])


def _check_fields(value: Any, kind: str, place: str) -> None:
    import kubernetes.client

    if inner := re.fullmatch(r"[Ll]ist\[(.*)\]", kind):
        assert isinstance(value, list), place
        for index, item in enumerate(value):
            _check_fields(item, inner[1], f"{place}[{index}]")
    elif re.fullmatch(r"[Dd]ict[(\[].*", kind):
        assert isinstance(value, dict), place
    elif kind in ("str", "int", "bool"):
        assert type(value).__name__ == kind, f"{place} = {value!r}, expected {kind}"
    elif kind not in ("object", "datetime"):
        model = getattr(kubernetes.client, kind)
        names = {key: attribute for attribute, key in model.attribute_map.items()}
        for key, item in value.items():
            assert key in names, f"{place} has no field {key}"
            _check_fields(item, model.openapi_types[names[key]], f"{place}.{key}")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_reads_the_manifests(tmp_path: Path) -> None:
    for path in MANIFESTS:
        shutil.copy(path, tmp_path)
    names = ", ".join(path.name for path in MANIFESTS)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{names}]\n")
    assert _run("kubectl", "kustomize", tmp_path).count("\nkind: ") == sum(len(_documents(path)) for path in MANIFESTS)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_pods_have_no_rights_and_their_mounts_fit(manifest: Path) -> None:
    for document in _documents(manifest):
        assert document["metadata"]["namespace"] == "fmtl"
        if document["kind"] not in ("Deployment", "StatefulSet"):
            continue
        spec = document["spec"]["template"]["spec"]
        assert document["spec"]["replicas"] == 1
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        volumes = {volume["name"] for volume in spec["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}
        for container in (*spec["initContainers"], *spec["containers"]):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        labels = document["spec"]["template"]["metadata"]["labels"]
        assert document["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_a_site_on_kubernetes_has_one_gpu_and_reads_its_data_only() -> None:
    (spec,) = (d["spec"]["template"]["spec"] for d in _documents(MANIFESTS[1]) if d["kind"] == "Deployment")
    (container,) = spec["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}["/data"] is True


# Slurm ----------------------------------------------------------------------------------------------------------------

JOB = DEPLOY / "slurm/site.sbatch"


def test_the_job_is_valid_shell() -> None:
    assert _run("bash", "-n", JOB) == ""


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="ShellCheck is not installed")
def test_shellcheck_finds_nothing_in_the_job() -> None:
    _run("shellcheck", JOB)


@pytest.mark.parametrize(("signal", "code", "queued"), [("USR1", 0, True), ("TERM", 143, False)])
def test_the_job_ends_its_site_in_order_and_is_queued_again_when_its_time_is_over(
    signal: str, code: int, queued: bool, tmp_path: Path
) -> None:
    site, queue = tmp_path / ".venv/bin/fmtl", tmp_path / "scontrol"
    site.parent.mkdir(parents=True)
    loop = "while :; do sleep 0.05; done"
    site.write_text(
        f'#!/bin/sh\ntrap "echo ended in order; exit 143" TERM\necho "$@"\nsleep 0.5\nkill -{signal} $PPID\n{loop}\n'
    )
    queue.write_text('#!/bin/sh\necho "$@"\n')
    for program in (site, queue):
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "FMTL_HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", JOB, "mine.yaml"], capture_output=True, text=True, timeout=600, env={**os.environ, **environment}
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[:2] == ["site start mine.yaml", "ended in order"]
    assert ("requeue 7" in done.stdout) is queued
