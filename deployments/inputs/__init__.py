"""Inputs of strangers: fetched within bounds, checked, and kept by content under OUT/inputs."""
