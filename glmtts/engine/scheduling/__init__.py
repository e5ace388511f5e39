"""Which job runs next, and in which chunks: policy and book-keeping, without torch."""
