"""Callbacks for training frameworks, and `gradmidi run`, which listens to a script as it is.

No module here imports its framework before its callback is used.
"""
