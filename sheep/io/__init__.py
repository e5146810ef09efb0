"""Bytes at a URI, the commit protocol over them, checkpoints, clean-up and logging."""
