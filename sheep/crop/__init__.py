"""Crop: SAM-2 follows each animal; square crops are cut along its smoothed track."""
