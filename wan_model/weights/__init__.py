"""Checkpoints: recognised by layout and shape, described without loading, loaded in a stream, exported."""
