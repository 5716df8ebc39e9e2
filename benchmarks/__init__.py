"""Measurements against named peers; each script prints the table behind one claim."""
