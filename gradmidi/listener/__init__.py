"""`listen` and `record`, the open run, its end, and ranks other than 0."""
