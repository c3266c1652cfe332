"""Traced graphs ahead of time: described, compiled in another process, cached, checked and switched to."""

from metafunc.execution.aot.compiler import Compiler as Compiler
from metafunc.execution.aot.switch import Halted as Halted
from metafunc.execution.aot.switch import Switch as Switch
