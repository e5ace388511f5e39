"""Compares this implementation with numbers computed by the published code."""
