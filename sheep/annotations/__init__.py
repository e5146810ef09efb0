"""Annotation files and the cohort file."""
