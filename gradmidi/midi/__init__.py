"""MIDI channels, ports, rigs and the text events of a MIDI file."""
