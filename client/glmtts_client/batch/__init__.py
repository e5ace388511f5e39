"""Batches: many utterances from a file of JSON lines to a folder of audio files."""
