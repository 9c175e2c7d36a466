"""The commands of `python -m export`, a module each; every one takes its words and returns the exit status."""
