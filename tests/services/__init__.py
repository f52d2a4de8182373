"""Real components that tests start on loopback: S3 servers so far. Each is stopped by the process that began it."""
