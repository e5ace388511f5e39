#!/usr/bin/env bash
# Writes deploy/locks: exact versions with hashes of everything that the server and the client need, for every platform
# and Python from 3.10 on. Options are uv's: `scripts/lock.sh --upgrade` takes the newest versions.
#
# server-cpu.txt leaves out torch and the CUDA libraries that it requires: PyTorch's CPU builds are in an index of their
# own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lock() {
    uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-annotate \
        --custom-compile-command scripts/lock.sh "$@"
}
lock pyproject.toml --extra otel --extra gpu --output-file deploy/locks/server.txt "$@"
mapfile -t cuda < <(grep -oE '^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)' deploy/locks/server.txt | sort -u)
lock pyproject.toml --extra otel "${cuda[@]/#/--no-emit-package=}" --output-file deploy/locks/server-cpu.txt "$@"
# What pyproject.toml allows at least, for scripts/release/lowest.sh; torch and what it requires are left out.
lock pyproject.toml client/pyproject.toml --resolution lowest-direct --extra otel --extra onnx "${cuda[@]/#/--no-emit-package=}" \
    --no-emit-package=sympy --no-emit-package=networkx --no-emit-package=mpmath --no-emit-package=setuptools \
    --output-file scripts/release/lowest.txt
lock client/pyproject.toml --output-file deploy/locks/client.txt "$@"
