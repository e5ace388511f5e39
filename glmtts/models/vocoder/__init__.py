"""The vocoders: a mel spectrogram to a waveform."""
