"""Metrics, traces, logs and the history of requests."""
