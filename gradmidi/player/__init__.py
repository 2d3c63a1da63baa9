"""The player: a separate process that follows a run log and plays it."""
