"""Gradients to rows of norms. Imports torch."""
