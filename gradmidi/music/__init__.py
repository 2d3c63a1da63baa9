"""Norms to music: presets, pitch, styles, voices, slots, events."""
