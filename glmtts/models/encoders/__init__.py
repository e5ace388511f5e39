"""The encoders of reference audio: the speaker encoder and the speech tokenizer."""
