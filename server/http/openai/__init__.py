"""OpenAI's speech API, for clients that are written for it. It shares everything behind a request's body with /tts."""
