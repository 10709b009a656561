"""The three ways a reconstruction can end without a result. Standard library only."""


class InputError(ValueError):
    """What the user gave cannot be used: says what is wrong, what was found and what to do."""


class ReconstructionError(RuntimeError):
    """The work itself failed although the input was readable: says what happened and what helps."""


class Cancelled(Exception):
    """The user pressed Cancel (or Ctrl-C); raised by ``report`` from inside a method."""
