"""What a person looks at after a run, made from its numbers alone."""
