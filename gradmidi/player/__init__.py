"""The player: a process of its own that follows a run log and plays it."""
