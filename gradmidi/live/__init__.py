"""The training process's side of live output: start the player, feed it, outlive it."""
