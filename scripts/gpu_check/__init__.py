"""What `scripts/gpu_check.sh` runs: parts with a bound on their time, whose results are kept for the next pass."""
