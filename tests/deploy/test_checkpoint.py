"""How nodes get the published checkpoint: each deployment fetches it once, to where its nodes load it from."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import fetch_checkpoint
from tests.helpers.server import ROOT

FOLDER = ROOT / "deploy"
NOMAD = (FOLDER / "nomad" / "glm-tts.nomad.hcl").read_text("utf-8")
FETCH_UNIT = (FOLDER / "systemd" / "glm-tts-fetch.service").read_text("utf-8")
NODE_UNIT = (FOLDER / "systemd" / "glm-tts@.service").read_text("utf-8")


def pod() -> dict[str, Any]:
    deployment = yaml.safe_load((FOLDER / "kubernetes" / "deployment.yaml").read_text("utf-8"))
    return dict(deployment["spec"]["template"]["spec"])


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / "compose.gpu.yaml").read_text("utf-8"))["services"])


def shell_commands() -> dict[str, str]:
    """What `sh -c` gets, by deployment."""
    [nomad] = re.findall(r'args\s+= \["(.*)"\]', NOMAD)
    return {
        "compose": compose()["fetch"]["command"][0],
        "kubernetes": pod()["initContainers"][0]["args"][0],
        "nomad": nomad,
    }


def loaded_from() -> dict[str, str]:
    """Where nodes load the checkpoint from, by deployment."""
    environment = {item["name"]: item.get("value") for item in pod()["containers"][0]["env"]}
    [nomad] = re.findall(r'GLMTTS_CHECKPOINT\s+= "(.*)"', NOMAD)
    return {
        "compose": compose()["node1"]["environment"]["GLMTTS_CHECKPOINT"].removeprefix("${CHECKPOINT:-").rstrip("}"),
        "kubernetes": environment["GLMTTS_CHECKPOINT"],
        "nomad": nomad,
    }


@pytest.mark.parametrize("name", ["compose", "kubernetes", "nomad"])
def test_the_checkpoint_is_fetched_once(name: str, tmp_path: Path) -> None:
    """By the image's shell: the script's flags, where nodes look, and nothing once the list of hashes is there."""
    folder = tmp_path / "checkpoints" / "glm-tts"
    folder.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "python"
    stub.write_text('#!/bin/sh\necho "$@"\n', "utf-8")
    stub.chmod(0o755)
    command = shell_commands()[name].replace("/checkpoints/glm-tts", str(folder))
    environment = {"PATH": f"{stub.parent}:{os.environ['PATH']}"}

    def run() -> list[str]:
        done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
        return shlex.split(done.stdout)

    module, *arguments = run()[1:]
    assert module == "scripts.fetch_checkpoint"
    options = fetch_checkpoint.parse(arguments)
    assert str(options.folder).replace(str(folder), "/checkpoints/glm-tts") == loaded_from()[name]
    assert (ROOT / options.campplus).is_file()
    (folder / "SHA256SUMS").touch()
    assert run() == []


def test_only_what_fetches_can_write_the_checkpoint() -> None:
    """Nodes have it read-only, and start after it is there."""
    services = compose()
    assert services["fetch"]["volumes"] == ["${CHECKPOINTS:-checkpoints}:/checkpoints"]
    for name in ("node1", "node2"):
        assert services[name]["volumes"] == ["${CHECKPOINTS:-checkpoints}:/checkpoints:ro"]
        assert services[name]["depends_on"] == {"fetch": {"condition": "service_completed_successfully"}}
    mounts = [
        {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}["checkpoints"]
        for container in (*pod()["initContainers"], *pod()["containers"])
    ]
    assert mounts == [False, True]
    assert re.findall(r'destination = "/checkpoints"\s+read_only   = (\w+)', NOMAD) == ["false", "true"]
    assert re.search(r'hook\s+= "prestart"', NOMAD)


def test_the_unit_fetches_what_the_nodes_load() -> None:
    """Before them, and only if it is not there."""
    [line] = re.findall(r"^ExecStart=(.*)$", FETCH_UNIT, re.MULTILINE)
    python, flag, module, *arguments = shlex.split(line)
    assert (Path(python).name, flag, module) == ("python", "-m", "scripts.fetch_checkpoint")
    folder = fetch_checkpoint.parse(arguments).folder
    assert f"GLMTTS_CHECKPOINT={folder}\n" in NODE_UNIT
    assert f"ConditionPathExists=!{folder}/SHA256SUMS\n" in FETCH_UNIT
    for key in ("After", "Wants"):
        assert re.search(rf"^{key}=.*\bglm-tts-fetch\.service\b", NODE_UNIT, re.MULTILINE)
    assert FETCH_UNIT.count("StateDirectory=glm-tts/checkpoints\n") == 1


def test_the_fetching_unit_is_valid(tmp_path: Path) -> None:
    """With a path to Python that exists."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on PATH (Debian: systemd)")
    unit = tmp_path / "glm-tts-fetch.service"
    unit.write_text(FETCH_UNIT.replace("/opt/glm-tts/.venv/bin/python", sys.executable), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_has_the_script_and_the_speaker_encoder() -> None:
    """CAM++ is not in the published tree, and the image has no pip to download it with."""
    included = (FOLDER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert {"!scripts", "!checkpoints/nano"} <= set(included)
