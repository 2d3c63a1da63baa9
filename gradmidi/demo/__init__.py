"""The five experiments of the demo, and the digits they learn."""
