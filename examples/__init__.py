"""Runnable examples.

Each runs on a laptop, without a GPU and without a network (`tests/e2e/test_examples.py` runs them all).
"""
