"""`python -m metafunc`: the command line, as the console script `metafunc` has it."""

from importlib import import_module

if __name__ == "__main__":
    import_module("metafunc_cli.__main__").main()
