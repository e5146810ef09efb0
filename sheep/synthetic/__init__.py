"""The synthetic dataset ("meadow"): procedurally generated pastures with exact ground truth.

It is the embedded demo, the training data of the pocket models, and the input of tests and benchmarks with a known
answer.
"""
