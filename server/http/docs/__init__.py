"""The description of the API for programs (OpenAPI 3.1), and a page to read it on."""
