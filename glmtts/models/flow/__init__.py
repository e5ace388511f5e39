"""The flow-matching decoder: speech tokens to a mel spectrogram."""
