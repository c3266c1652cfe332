"""Lists of operations as machine code: described, compiled in a process of their own, kept, checked and swapped in."""

from metafunc.native.compiler import Compiler as Compiler
from metafunc.native.compiler import Halted as Halted
from metafunc.native.compiler import Swap as Swap
