"""What the benchmarks share, and those of single parts."""
