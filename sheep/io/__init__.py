"""Storage by URI, the commit protocol built on it, checkpoints, clean-up, progress and logging."""
