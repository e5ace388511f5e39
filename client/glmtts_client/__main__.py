"""`python -m glmtts_client` is the command `glmtts`."""

from glmtts_client.cli.main import main

main()
