#!/usr/bin/env bash
# Checks a GPU with everything that needs one: tests, stages, number formats, a server with 1 to 64 listeners, memory.
#
#   scripts/gpu_check.sh                        a stand-in for the published checkpoint, written on the device: 7 GB of disk
#   scripts/gpu_check.sh CHECKPOINT             a checkpoint's folder instead
#   scripts/gpu_check.sh --device cpu --quick   narrow, to see that all parts run
#
# A pass takes four minutes at most, and prints a table to paste. What it had no time for, the next pass does, with the
# same options; exit code 2 says that there is something left. State, logs and stand-ins are in .gpu-check (--folder).
#
# It downloads nothing and needs neither checkpoints/nano nor Consul. It needs a Python environment with the packages of
# deploy/locks/server.txt (torch, transformers, flask …; torch with CUDA), and pytest, pytest-timeout and tqdm: the active
# one, else .venv, else python3. What is missing is named before anything runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=python3
[ -n "${VIRTUAL_ENV:-}" ] || [ ! -x .venv/bin/python ] || python=.venv/bin/python
"$python" scripts/gpu_check/environment.py
PYTHONPATH="$PWD:$PWD/client${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m scripts.gpu_check "$@"
