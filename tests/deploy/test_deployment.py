"""The deployment files agree with the program. No container engine or orchestrator runs here: the files are checked by
schema, by linters, and name by name against the program."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from flask import Flask

from server import settings as setup
from server.http.context import AppContext
from server.http.routes import make_routes
from server.model_settings import REPLACEMENTS
from server.settings import Settings
from server.wsgi import command
from server.wsgi.gunicorn_app import GunicornApp
from server.wsgi.worker import Worker
from tests.helpers.promql import series
from tests.helpers.server import ROOT, Server
from tests.server.observability.test_metrics import SERIES

FOLDER = ROOT / "deploy"
KUBERNETES = sorted((FOLDER / "kubernetes").glob("*.yaml"))
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*FOLDER.rglob("*"), ROOT / "docs" / "operations.md"]
    if path.is_file() and path.suffix != ".json"
}
DOCKERFILE = TEXTS["deploy/Dockerfile"]
UNIT = TEXTS["deploy/systemd/glm-tts@.service"]
NOMAD = TEXTS["deploy/nomad/glm-tts.nomad.hcl"]
PORT: int = Settings.model_fields["port"].default
LONGEST_DRAIN: int = GunicornApp(Settings(), lambda: pytest.fail("not loaded here"), None).cfg.graceful_timeout
"""Seconds after SIGTERM at which the program itself exits, by default."""


def document(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(TEXTS[f"deploy/{name}"])
    return loaded


def container() -> dict[str, Any]:
    [only] = document("kubernetes/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    return cast("dict[str, Any]", only)


def paths() -> set[str]:
    server = Flask("routes")
    server.register_blueprint(make_routes(cast(AppContext, None)))  # only its rules are read: nothing is called
    return {rule.rule for rule in server.url_map.iter_rules()}


def ran(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def beside_python(tool: str) -> Path:
    """A tool of the extra deploy-checks; skips the test if it is not installed."""
    path = Path(sys.executable).parent / tool
    if not path.exists():
        pytest.skip("needs the extra deploy-checks")
    return path


# By schema and linter


@pytest.mark.parametrize(
    "file", [path for path in KUBERNETES if path.stem not in ("kustomization", "keda")], ids=lambda file: file.stem
)
def test_the_kubernetes_manifests_are_valid(file: Path) -> None:
    """Every field exists in the API, and has its type."""
    ran(beside_python("kubernetes-validate"), "--strict", file)


def test_the_kustomization_is_complete() -> None:
    """It lists every manifest except the alternative to another."""
    listed = set(document("kubernetes/kustomization.yaml")["resources"])
    assert listed == {path.name for path in KUBERNETES} - {"kustomization.yaml", "keda.yaml"}


def test_the_compose_files_are_valid() -> None:
    """Both files follow the schema of the compose specification."""
    files = [FOLDER / "compose.yaml", FOLDER / "compose.gpu.yaml"]
    ran(beside_python("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *files)


def test_the_dockerfile_has_no_lint() -> None:
    """hadolint reports nothing except what is ignored in place."""
    ran(beside_python("hadolint"), FOLDER / "Dockerfile")


def test_the_nomad_job_parses() -> None:
    """It is HCL, and has the blocks that a GPU node needs."""
    hcl2 = pytest.importorskip("hcl2", reason="needs the extra deploy-checks")
    [job] = hcl2.loads(NOMAD)["job"]
    group = next(iter(job.values()))["group"][0]
    inner = next(iter(group.values()))
    assert {"count", "network", "update", "scaling", "service", "task"} <= inner.keys()


def test_the_systemd_unit_is_valid(tmp_path: Path) -> None:
    """With a path to Python that exists."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on PATH (Debian: systemd)")
    unit = tmp_path / "glm-tts@.service"
    unit.write_text(UNIT.replace("/opt/glm-tts/.venv/bin/python", sys.executable))
    assert ran("systemd-analyze", "verify", unit) == ""


def test_shell_scripts_have_no_lint() -> None:
    """shellcheck with its defaults."""
    ran(beside_python("shellcheck"), *sorted((ROOT / "scripts").glob("*.sh")), ROOT / "scripts" / "test")


# Name by name


def test_every_variable_is_a_setting() -> None:
    """Both GLMTTS_* and Consul's own, in every file and in operations.md; or one of the client's."""
    own = {setup.PREFIX + name.upper() for name in Settings.model_fields}
    consul = {
        str(choice)
        for field in Settings.model_fields.values()
        for choice in getattr(field.validation_alias, "choices", [])
    }
    for name, text in TEXTS.items():
        named = set(re.findall(r"\b(?:GLMTTS|CONSUL)_[A-Z0-9_]+\b", text))
        assert named <= own | consul | setup.NOT_SETTINGS, name


def test_every_path_is_a_route() -> None:
    """In probes, checks and the manual."""
    probes = [container()[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")]
    checks = re.findall(r'path\s+= "(/\w+)"', NOMAD)
    health = re.findall(r"\]}(/\w+)'", DOCKERFILE)
    assert (probes, checks, health) == (["/health", "/ready"], ["/ready"], ["/health"])
    manual = re.findall(r"`(?:GET |POST |DELETE )?(/[a-z][a-z/]*)`", TEXTS["docs/operations.md"])
    assert {*probes, *checks, *health, *manual} <= paths() | {"/v1/agent/metrics"}


def test_every_port_is_that_of_the_program() -> None:
    """7860, or the next ones if several nodes are on one host."""
    assert f"EXPOSE {PORT}" in DOCKERFILE
    assert f"GLMTTS_PORT={PORT}" in DOCKERFILE
    assert container()["ports"] == [{"name": "http", "containerPort": PORT}]
    assert document("kubernetes/service.yaml")["spec"]["ports"][0]["port"] == PORT
    compose = document("compose.yaml")["services"]
    assert [compose[name]["ports"] for name in ("node1", "node2")] == [[f"{PORT}:{PORT}"], [f"{PORT + 1}:{PORT}"]]
    assert f"GLMTTS_PORT={PORT // 10}%i" in UNIT


def test_every_command_line_is_one_of_the_program() -> None:
    """The image's entry point and the unit's ExecStart: app.py parses their flags."""
    [entry] = re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)
    [start] = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
    for words in (yaml.safe_load(entry), shlex.split(start)):
        assert (Path(words[0]).name, words[1]) == ("python", "app.py")
        command.parse(words[2:])
    for name, text in TEXTS.items():
        for line in re.findall(r"^(?:\$ )?python app\.py(.*)$", text, re.MULTILINE):
            assert command.parse(shlex.split(line)), name


def test_sigterm_stops_a_node_everywhere() -> None:
    """It is the signal that drains; any other one would drop requests."""
    named = [
        *re.findall(r"^STOPSIGNAL (\w+)$", DOCKERFILE, re.MULTILINE),
        *re.findall(r"^KillSignal=(\w+)$", UNIT, re.MULTILINE),
        *re.findall(r'kill_signal\s+= "(\w+)"', NOMAD),
    ]
    assert named == ["SIGTERM"] * 3
    assert signal.Signals[named[0]] is signal.SIGTERM
    assert Worker.handle_exit.__doc__ is not None
    assert Worker.handle_exit.__doc__.startswith("SIGTERM"), "the handler that drains"


def test_no_manager_kills_a_draining_node() -> None:
    """Each waits longer than the longest drain, including what runs before the signal."""
    pod = document("kubernetes/deployment.yaml")["spec"]["template"]["spec"]
    ahead = int(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    [unit] = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    [nomad] = re.findall(r'kill_timeout = "(\d+)s"', NOMAD)
    minutes = {name: node["stop_grace_period"] for name, node in document("compose.yaml")["services"].items()
               if name.startswith("node")}  # fmt: skip
    assert minutes == {"node1": "2m", "node2": "2m"}
    for timeout in (pod["terminationGracePeriodSeconds"] - ahead, int(unit), int(nomad), 120):
        assert timeout > LONGEST_DRAIN + 5


def test_the_image_does_not_run_as_root() -> None:
    """Both targets end with a numeric user, the one that Kubernetes requires."""
    stages = re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    targets = {name: text for name, text in stages if name in ("cuda", "cpu")}
    assert set(targets) == {"cuda", "cpu"}
    for text in targets.values():
        assert text.rstrip().endswith("USER 10001:10001")
    [made] = re.findall(r"useradd --uid (\d+)", DOCKERFILE)
    security = document("kubernetes/deployment.yaml")["spec"]["template"]["spec"]["securityContext"]
    assert (made, security["runAsUser"], security["runAsNonRoot"]) == ("10001", 10001, True)


def test_the_image_has_everything_that_the_program_needs() -> None:
    """The files that the build copies and the locks exist, and the weights are in a volume."""
    included = re.findall(r"^!(\S+)$", TEXTS["deploy/Dockerfile.dockerignore"], re.MULTILINE)
    assert {"app.py", "glmtts", "server", "pyproject.toml", REPLACEMENTS.name} <= set(included)
    assert [name for name in included if not (ROOT / name).exists() and name != "checkpoints/nano"] == []
    assert all((FOLDER / name).is_file() for name in re.findall(r"deploy/(locks/\S+\.txt)", DOCKERFILE))
    assert 'VOLUME ["/checkpoints", "/voices"]' in DOCKERFILE
    mounts = {mount["mountPath"] for mount in container()["volumeMounts"]}
    assert mounts == {"/checkpoints", "/voices", "/tmp"}


def test_autoscalers_query_series_that_exist() -> None:
    """Both of Kubernetes' and Nomad's scale on the backlog."""
    hpa = document("kubernetes/hpa.yaml")["spec"]["metrics"][0]["pods"]["metric"]["name"]
    keda = [trigger["metadata"]["query"] for trigger in document("kubernetes/keda.yaml")["spec"]["triggers"]]
    nomad = re.findall(r'query\s+= "(.*)"$', NOMAD, re.MULTILINE)
    queried = set().union(*(series(query) for query in [hpa, *keda, *nomad]))
    recorded = set(re.findall(r"record: (\S+)", TEXTS["deploy/prometheus/rules.yml"]))
    assert queried == {"glmtts_backlog_seconds"}
    assert queried <= {f"glmtts_{name}" for name in SERIES} | recorded


def test_both_ways_to_scale_aim_at_the_same_deployment() -> None:
    """With the same bounds, so that changing from one to the other changes nothing."""
    hpa, keda = document("kubernetes/hpa.yaml")["spec"], document("kubernetes/keda.yaml")["spec"]
    name = document("kubernetes/deployment.yaml")["metadata"]["name"]
    assert hpa["scaleTargetRef"]["name"] == keda["scaleTargetRef"]["name"] == name
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (keda["minReplicaCount"], keda["maxReplicaCount"])
    inner = keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert inner == hpa["behavior"]


def test_the_healthcheck_detects_a_running_server() -> None:
    """The image's own command, with a real server: exit status 0, and not 0 without one."""
    [healthcheck] = re.findall(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    _, *command = json.loads(healthcheck)

    def status(port: int) -> int:
        own = {**os.environ, "GLMTTS_PORT": str(port)}
        return subprocess.run([sys.executable, *command], env=own, check=False, capture_output=True).returncode

    with Server() as server:
        assert status(server.port) == 0
    assert status(server.port) != 0
