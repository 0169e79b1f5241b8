"""Scenes of axle bolts, sound and damaged, made from a seed."""
