#!/usr/bin/env bash
# Puts Consul at .tools/consul, for the tests and for scripts/cluster.py: a link to the one on PATH, or version 1.8.7.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sum=e4e888bba104daba1d9161f49bfc52649a7e4efd45b1a7ead5bc54f2cb9c89d9
dest=.tools/consul

mkdir -p .tools
if [ -x "$dest" ] && "$dest" version >/dev/null 2>&1; then "$dest" version | sed -n 1p; exit 0; fi
if tool=$(command -v consul); then ln -sfn "$tool" "$dest"; "$dest" version | sed -n 1p; exit 0; fi

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
scripts/unpack_debian11.sh consul "$sum" "$work/tree"
install -m 755 "$work/tree/usr/bin/consul" "$dest.new"
mv "$dest.new" "$dest" # atomic: a concurrent test run never sees half a binary
"$dest" version | sed -n 1p
