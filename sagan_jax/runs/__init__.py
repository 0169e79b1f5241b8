"""Runs: prepared, trained, checkpointed, judged, written to a folder."""
