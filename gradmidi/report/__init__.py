"""The page, the picture and the film of a run."""
