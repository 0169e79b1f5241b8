"""Scoring, calibration and metrics."""
