"""Sinks: MIDI files, MIDI ports, OSC and sound cards, and the registry of file endings."""
