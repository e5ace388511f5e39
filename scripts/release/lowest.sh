#!/usr/bin/env bash
# Runs tests with the lowest versions of the direct requirements that pyproject.toml allows, in an environment of its own.
#
#   scripts/release/lowest.sh --quick              in the test environment's torch, as a part of scripts/test: those of
#                                                  lowest.txt by pip, with hashes (2 minutes on two cores)
#   PYTHON=python3.10 scripts/release/lowest.sh    torch, too (5 GB); needs uv
#
# Further arguments are pytest's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
quick=no
if [ "${1:-}" = --quick ]; then
    shift
    quick=yes
fi
export PYTHONPATH=$PWD:$PWD/client OMP_NUM_THREADS=1
options=(-q --fast -p no:cacheprovider)
if [ $quick = yes ]; then
    packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    python -m venv "$environment"
    "$environment/bin/pip" install --quiet --no-deps --no-compile --require-hashes -r scripts/release/lowest.txt
    # Behind the environment's own: torch, and what only tests need.
    echo "$packages" >"$environment/$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib", vars={"base": ""}).lstrip("/"))')/others.pth"
    # SciPy, which no requirement asks for, warns of an old NumPy.
    options+=(-n auto --dist loadfile -W "ignore:A NumPy version")
else
    uv venv --quiet --python "${PYTHON:-python3}" "$environment"
    export VIRTUAL_ENV=$environment
    uv pip compile --quiet --resolution lowest-direct --python "$environment/bin/python" --no-annotate --no-header \
        --extra otel --extra onnx --output-file "$environment/lowest.txt" pyproject.toml client/pyproject.toml
    uv pip install --quiet --requirement "$environment/lowest.txt" pytest pytest-timeout hypothesis
fi
[ $# != 0 ] || set -- tests/client tests/server/keys tests/server/discovery tests/server/observability tests/server/voices \
    tests/glmtts/checkpoint tests/glmtts/text/test_frontend.py tests/glmtts/text/test_tokenizer.py tests/glmtts/text/test_markup.py \
    tests/glmtts/models tests/glmtts/voice tests/server/http/test_schemas.py tests/server/wsgi/test_command.py
"$environment/bin/python" -m pytest "${options[@]}" "$@"
