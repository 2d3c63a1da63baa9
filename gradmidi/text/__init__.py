"""Runs and files in words: summaries, audibility, decoding."""
