"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """A setting or an input is unusable; the message says what was wrong and what is allowed.

    Commands print the message alone, without a traceback, and leave with exit code 2.
    """
