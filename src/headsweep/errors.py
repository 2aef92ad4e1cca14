"""The errors a user can cause and mend; the command line prints them without a traceback."""


class UserError(ValueError):
    """A mistake in a command, a configuration or an input file.

    The message says what is wrong, where, and how to mend it.
    """


class DataError(UserError):
    """Input data that cannot be used; the message names file, event and column."""
