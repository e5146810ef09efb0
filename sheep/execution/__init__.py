"""Executors, which run the work: in this process, or on a Ray cluster."""
