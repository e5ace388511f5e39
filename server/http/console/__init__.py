"""The console: a page to try voices with, and to see the cluster. Plain files, sent as they are."""
