#!/usr/bin/env bash
# A real Prometheus and its promtool for the tests and the cluster on a laptop, at .tools: those on PATH if they find
# targets through Consul (Debian's newer ones are built without that), else 2.24.1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sum=7f98887c0fa36e0dd81bb39abc57a9e2535c2a0dc20442a431255ebc0b87b73a
config=$PWD/deploy/prometheus/prometheus.yml

fits() { [ -n "$1" ] && [ -x "$1" ] && "$1" check config "$config" >/dev/null 2>&1; }
told() { .tools/prometheus --version 2>&1 | sed -n 1p; }

mkdir -p .tools
if [ -x .tools/prometheus ] && fits .tools/promtool; then told; exit 0; fi
if server=$(command -v prometheus) && tool=$(command -v promtool) && fits "$tool"; then
    ln -sfn "$server" .tools/prometheus
    ln -sfn "$tool" .tools/promtool
    told
    exit 0
fi

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
scripts/unpack_debian11.sh prometheus "$sum" "$work/tree"
for name in prometheus promtool; do
    install -m 755 "$work/tree/usr/bin/$name" ".tools/$name.new"
    mv ".tools/$name.new" ".tools/$name" # in one step: two test runs at once never see half a binary
done
told
