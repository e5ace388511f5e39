"""schemathesis over the server's own OpenAPI document: what it allows, and what it does not, for every route."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.attacks.senders import Outcomes
from scripts.attacks.target import Target

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance"
CONFIG = '[checks]\nnot_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]\n'
_FAILURE = re.compile(r"ST\d+ ([\w ]+): (\d+)")


def attack(target: Target, examples: int) -> Outcomes:
    """Sends about `examples` requests to each route, beside those that schemathesis makes of every schema."""
    with TemporaryDirectory() as folder:
        har, config = Path(folder) / "report.har", Path(folder) / "schemathesis.toml"
        config.write_text(CONFIG, "ascii")
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
        command += [f"{target.url}/openapi.json", "-H", f"Authorization: Bearer {target.key}", "-n", str(examples)]
        command += ["--phases", "coverage,fuzzing", "--checks", CHECKS, "--no-shrink", "--continue-on-failure"]
        command += ["--request-timeout", "120"]
        command += ["--generation-database", ":memory:", "--report-har-path", str(har), "--no-color", "--seed", "1"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if not har.exists():
            raise RuntimeError(f"schemathesis: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        entries = json.loads(har.read_text("utf-8"))["log"]["entries"]
    outcomes: Outcomes = Counter(str(entry["response"]["status"] or "no answer") for entry in entries)
    for what, count in _FAILURE.findall(done.stdout.partition("= SUMMARY =")[2]):
        outcomes[f"undocumented ({what.lower()})"] = int(count)
    return outcomes
