"""Each module prints one table that compares in one run; nothing here is timed in a test."""
