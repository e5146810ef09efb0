"""What a person has to know and correct before a study runs: all of it in one list, without a model and without Ray."""
