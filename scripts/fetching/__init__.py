"""Where the files of a checkpoint come from."""
