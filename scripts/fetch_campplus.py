"""Downloads the CAM++ weights for the parity tests and prints their path.

export GLMTTS_CAMPPLUS=$(python -m scripts.fetch_campplus)
"""

from __future__ import annotations

from pathlib import Path

from scripts.nano import pretrained


def main() -> None:
    """Downloads to `.tools/` and checks the sha256."""
    print(pretrained.campplus(Path(".tools")).resolve())


if __name__ == "__main__":
    main()
