"""The demo: five experiments, and the handwritten digits they train on."""
