"""Replay: labelled cases and recorded incidents through the very same code, on simulated time."""
