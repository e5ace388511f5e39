"""HTTP, discovery and counting around glmtts. Sees its public names only; never torch."""

RELEASE = "0.1.0"
"""Version of the program, as in pyproject.toml."""
