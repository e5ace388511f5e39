"""Batches of utterances: from JSON lines to a folder of audio files."""
