"""Measurements behind the project's claims about speed, memory and scores: printed, never asserted.

Speeds and memory are compared as ratios of what one run measured in turn; on another machine or a busy one they differ.
"""
