"""Lists of operations as machine code: described, compiled in a process of their own, kept, checked and swapped in."""

from metafunc.execution.aot.compiler import Compiler as Compiler
from metafunc.execution.aot.compiler import Halted as Halted
from metafunc.execution.aot.compiler import Swap as Swap
