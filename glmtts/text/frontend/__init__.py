"""Text to the AR model's text ids: normalisation, pronunciation, segments."""
