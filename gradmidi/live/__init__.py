"""Live output in the training process: start the player and send it the run."""
