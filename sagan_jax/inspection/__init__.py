"""Folders of photographs: training on them, verdicts on files."""
