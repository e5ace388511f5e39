#!/usr/bin/env bash
# For each lock file: its SBOM in FOLDER (CycloneDX), and its known vulnerabilities. Exits with 1 if there is one, or if a
# package could not be looked up. Needs uv, and the network for the second.
#
#   scripts/release/audit.sh FOLDER
set -euo pipefail
folder=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mkdir -p "$folder"
for lock in server server-cpu client; do
    uvx --quiet --from cyclonedx-bom cyclonedx-py requirements "deploy/locks/$lock.txt" --of JSON -o "$folder/$lock.cdx.json"
done
failed=0
for lock in server server-cpu client; do
    uvx --quiet pip-audit --strict --disable-pip --require-hashes -r "deploy/locks/$lock.txt" || failed=1
done
exit $failed
