#!/usr/bin/env bash
# Puts Prometheus and promtool in .tools, for the tests and for scripts/cluster.py: links to those on PATH if they support
# Consul service discovery (Debian's newer ones are built without it), or version 2.24.1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sum=7f98887c0fa36e0dd81bb39abc57a9e2535c2a0dc20442a431255ebc0b87b73a
config=$PWD/deploy/prometheus/prometheus.yml

fits() { [ -n "$1" ] && [ -x "$1" ] && "$1" check config "$config" >/dev/null 2>&1; }
show_version() { .tools/prometheus --version 2>&1 | sed -n 1p; }

mkdir -p .tools
if [ -x .tools/prometheus ] && fits .tools/promtool; then show_version; exit 0; fi
if server=$(command -v prometheus) && tool=$(command -v promtool) && fits "$tool"; then
    ln -sfn "$server" .tools/prometheus
    ln -sfn "$tool" .tools/promtool
    show_version
    exit 0
fi

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
scripts/unpack_debian11.sh prometheus "$sum" "$work/tree"
for name in prometheus promtool; do
    install -m 755 "$work/tree/usr/bin/$name" ".tools/$name.new"
    mv ".tools/$name.new" ".tools/$name" # atomic: a concurrent test run never sees half a binary
done
show_version
