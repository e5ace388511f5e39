"""The WebSocket that speaks text while it is being written, as by a language model."""
