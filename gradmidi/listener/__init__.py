"""`listen` and `record`: the open run, its end, and the other ranks."""
