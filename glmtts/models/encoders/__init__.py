"""What reads a reference recording: the speaker encoder and the speech tokenizer."""
