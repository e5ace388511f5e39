"""HTTP, discovery and counting around glmtts. Sees its public names only; never torch."""
