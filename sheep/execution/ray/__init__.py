"""The Ray executor, in the only package that imports Ray.

Each of `data`, `train` and `tune` distributes one method of `sheep.execution.base.Executor`.
"""
