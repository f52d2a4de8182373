"""The console: the page at `/`, plain files that a browser reads as they are; no build step, no outside requests."""
