"""The version of this client: that of its distribution, and of the User-Agent that servers log."""

VERSION = "0.1.0"
