"""Puts an engine together and runs it: loading, threads, the engine loop, offline synthesis, the fake engine."""
