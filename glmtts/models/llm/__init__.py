"""The autoregressive language model: text ids to speech tokens."""
