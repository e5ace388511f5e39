"""The server process: the Flask application, gunicorn and its worker."""
