"""Sources of runs: growing logs, pipes, other machines and logs of other tools."""
