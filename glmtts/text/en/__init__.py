"""English: how it is written out in words, and how its words are read."""
