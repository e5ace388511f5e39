#!/usr/bin/env bash
# Writes deploy/locks: exact versions with hashes of everything that the server and the client need, for every platform
# and Python from 3.10 on. Options are uv's: `scripts/lock.sh --upgrade` takes the newest versions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lock() {
    uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-annotate \
        --custom-compile-command scripts/lock.sh "$@"
}
lock pyproject.toml --extra otel --extra gpu --output-file deploy/locks/server.txt "$@"
lock client/pyproject.toml --output-file deploy/locks/client.txt "$@"
