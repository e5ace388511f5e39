"""`python -m glmtts_client` runs the command `glmtts`."""

from glmtts_client.cli.main import main

main()
