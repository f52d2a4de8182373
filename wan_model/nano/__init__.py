"""The embedded model: its made-up world of moving shapes, the judge of its clips, its training and its weights."""
