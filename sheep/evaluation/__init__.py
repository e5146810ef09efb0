"""Grouped folds for cross-validation, and scores with intervals."""
