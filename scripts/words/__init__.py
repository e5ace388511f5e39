"""The parts of scripts/check_words.py: files of cases, comparisons, and access to the text front end or a server."""
