"""What has to be known and corrected before a study runs: all of it in one list, without a model and without Ray."""
