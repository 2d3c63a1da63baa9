"""Adapters to training frameworks: each a few lines over `gradmidi.listen` or `gradmidi.record`.

None of these modules imports its framework before the adapter in it is used.
"""
