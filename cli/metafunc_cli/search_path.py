"""Takes the current folder off the import path, where `python -m metafunc` put it: first, before the installed.

That folder holds data, not code. A module of the user's that a command line names is looked for there all the same,
after everything that is installed. The console script and `python -P` have no such entry, and one of PYTHONPATH stays.
"""

import os
import sys

PROGRAMS = ("metafunc.__main__", "metafunc_cli.__main__")

if getattr(sys.modules["__main__"].__spec__, "name", "") in PROGRAMS and not sys.flags.safe_path:
    sys.path[:1] = [] if sys.path[:1] in ([""], [os.getcwd()]) else sys.path[:1]
