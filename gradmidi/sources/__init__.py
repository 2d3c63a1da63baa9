"""Where runs are read from: growing logs, pipes, other machines, the logs of other tools."""
