"""Who runs the work: this process, or a Ray cluster."""
