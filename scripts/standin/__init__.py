"""A stand-in for the published checkpoint: its tree, names, shapes and dtypes, with random weights."""
