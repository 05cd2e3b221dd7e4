"""The files in data/: how each is written, checked, described and listed."""
