"""The one exception that means: the input is wrong, not the program."""


class InputError(ValueError):
    """Bad input, told in one line that names the file, key or image and says what to do.

    Tools print that line alone and exit with code 2 (``bestie_d2.engine.command_line``).
    """
