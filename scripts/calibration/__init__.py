"""What `scripts/calibrate_checkpoint.py` measures: prompts, lengths, speeds."""
