"""The command `glmtts`."""
