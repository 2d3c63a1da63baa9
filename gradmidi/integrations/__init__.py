"""Callbacks for training frameworks, and `gradmidi run`, which listens to an unchanged script.

The modules import their frameworks only when their callbacks are used.
"""
