"""The version of this server: that of its distribution, of `/info`, of `/openapi.json` and of the image."""

VERSION = "0.1.0"
