"""The page, pictures and text of a run, made from its numbers alone."""
