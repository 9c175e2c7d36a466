"""Files classified without a server, by `python -m service classify`."""
