"""Norms to music: preset, scale, voices, slots, events."""
