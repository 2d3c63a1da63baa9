"""The demo: five experiments, and their training data of handwritten digits."""
