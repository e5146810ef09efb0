"""Crop: SAM-2 tracks each animal, and square crops are cut along its smoothed track."""
