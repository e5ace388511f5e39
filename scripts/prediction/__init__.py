"""A model of the time that a GPU takes: launches, bytes and operations of each stage, and listeners who share them."""
