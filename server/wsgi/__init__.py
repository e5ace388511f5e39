"""The program: the Flask app, gunicorn and its worker."""
