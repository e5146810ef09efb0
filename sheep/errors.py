"""The three ways things go wrong here, told apart by who has to act.

Every message says what is wrong, what was got, what was expected, where, and what to do.
"""


class ConfigError(ValueError):
    """A person can fix it, and nothing has started yet: a setting, a path, a prompt or label file."""


class ContractError(RuntimeError):
    """A promise between two stages is broken (a table, a digest, a tensor). The job stops."""


class MediaError(RuntimeError):
    """This one video cannot be used. It becomes a row in the errors table and the archive goes on."""
