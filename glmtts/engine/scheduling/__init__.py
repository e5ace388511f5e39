"""Which job runs next, in which chunks: policy and book-keeping, without torch."""
