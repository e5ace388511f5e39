"""Compares this implementation with results of the published code."""
