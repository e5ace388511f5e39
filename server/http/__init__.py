"""Routes, request and response bodies, streaming."""
