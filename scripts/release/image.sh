#!/usr/bin/env bash
# Builds the CPU image with podman, and runs it as deploy/ does: another user than root, a file system that is read only,
# no capabilities. It must have no build tools, get healthy, speak, and finish a stream after SIGTERM.
#
#   CPU_INDEX=URL scripts/release/image.sh [options of `podman build`]
#
# RUNTIME names another OCI runtime than podman's own (crun refuses hosts with both versions of cgroups; runc does not).
# CPU_INDEX: see deploy/Dockerfile. Where no registry is in reach, --build-arg BASE=IMAGE names a base that is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

image=localhost/glm-tts:cpu
port=${PORT:-7860}
url=http://127.0.0.1:$port
folder=$(mktemp -d)
# Within what a host allows that may not raise its limits.
run=(podman ${RUNTIME:+--runtime "$RUNTIME"} run --ulimit nofile=8192:8192 --ulimit nproc=4096:4096)
container=
cleanup() {
    [ -z "$container" ] || podman rm --force --time 0 "$container" >/dev/null
    rm -rf "$folder"
}
trap cleanup EXIT

say() {
    curl --silent --show-error --fail --max-time 300 "$url/$1" -F text="$2" -F voice=hibari -o "$folder/$3"
}

podman build --format docker --file deploy/Dockerfile --ignorefile deploy/Dockerfile.dockerignore \
    --target cpu --build-arg CPU_INDEX="$CPU_INDEX" --tag "$image" "$@" .
echo "size: $(($(podman image inspect --format '{{.Size}}' "$image") / 1000000)) MB"

# shellcheck disable=SC2016 # expanded in the container
"${run[@]}" --rm --network none --entrypoint sh "$image" -c '
    for tool in pip pip3 gcc cc make git; do ! command -v "$tool" || exit 1; done
    [ "$(id -u)" = 10001 ] && ! [ -w /app ] && ! [ -w /opt/venv ]'
echo "inside: no build tools, user 10001, who can write neither the program nor the packages"

container=$("${run[@]}" --detach --network host --read-only --tmpfs /tmp --cap-drop all \
    --security-opt no-new-privileges --env GLMTTS_PORT="$port" --env GLMTTS_CONSUL=off \
    --env GLMTTS_PROPAGATION_DELAY=1 "$image")
for _ in {1..120}; do
    curl --silent --fail "$url/ready" >/dev/null && break
    [ "$(podman inspect --format '{{.State.Running}}' "$container")" = true ] || break
    sleep 2
done
podman healthcheck run "$container" || { podman logs "$container"; exit 1; }
echo "healthy"

say tts "Hello there." hello.wav
[ "$(head -c 4 "$folder/hello.wav")" = RIFF ]
echo "speech: $(stat --format %s "$folder/hello.wav") bytes"

say tts/stream "One is here. Two is here. Three is here. Four is here. Five is here." stream.wav &
stream=$!
until [ -s "$folder/stream.wav" ]; do kill -0 "$stream" && sleep 0.05; done
podman stop --time 120 "$container" >/dev/null
wait "$stream"
status=$(podman inspect --format '{{.State.ExitCode}}' "$container")
[ "$status" = 0 ]
echo "SIGTERM: the stream went on to its end ($(stat --format %s "$folder/stream.wav") bytes), exit status $status"
