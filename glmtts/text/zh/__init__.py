"""Chinese: how it is written out in words, and how its characters are read."""
