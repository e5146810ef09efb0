"""Embed: stored images or tracks -> one vector per animal and frame."""
