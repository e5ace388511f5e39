"""The edge: an event loop that reads whole requests under limits, and hands them to the threads of the application."""
