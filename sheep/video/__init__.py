"""Video files -> frames with exact times."""
