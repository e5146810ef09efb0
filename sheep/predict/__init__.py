"""Predict: probabilities per frame and label, and bouts."""
