"""Training and scoring of the pocket models, on synthetic scenes only."""
