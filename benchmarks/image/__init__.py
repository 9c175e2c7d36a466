"""The container image, really built, run and asked."""
