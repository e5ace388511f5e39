"""Starts the server from a checkout, as `glmtts-server` does once installed: `python app.py --host 0.0.0.0`."""

from server.wsgi.command import main

if __name__ == "__main__":
    main()
