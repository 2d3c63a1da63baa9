"""Find what is wrong in a run: faults, from norms, loss and pace."""
