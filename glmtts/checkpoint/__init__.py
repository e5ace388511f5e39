"""Reads a checkpoint folder into a model."""
