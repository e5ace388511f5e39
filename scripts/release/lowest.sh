#!/usr/bin/env bash
# Runs tests with the lowest versions of the direct requirements that pyproject.toml allows, torch included (5 GB), in an
# environment of its own. Needs uv.
#
#   PYTHON=python3.10 scripts/release/lowest.sh [pytest's options and files]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
uv venv --quiet --python "${PYTHON:-python3}" "$environment"
export VIRTUAL_ENV=$environment PYTHONPATH=$PWD:$PWD/client OMP_NUM_THREADS=1
uv pip compile --quiet --resolution lowest-direct --python "$environment/bin/python" --no-annotate --no-header \
    --extra otel --extra onnx --output-file "$environment/lowest.txt" pyproject.toml client/pyproject.toml
uv pip install --quiet --requirement "$environment/lowest.txt" pytest pytest-timeout hypothesis
[ $# != 0 ] || set -- tests/client tests/server/keys tests/server/discovery tests/server/observability tests/server/voices \
    tests/glmtts/checkpoint tests/glmtts/text tests/glmtts/models tests/glmtts/voice tests/server/wsgi/test_command.py
"$environment/bin/python" -m pytest -q --fast -p no:cacheprovider "$@"
