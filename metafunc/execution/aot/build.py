"""Compiles in another process, for a cache that only its owner can write.

A library in the cache is code that is loaded: so the cache is the user's own, never a run's folder, and a library has
to have the sum that its build recorded. Its name depends on everything that a library depends on.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, fx

from metafunc.execution import code_cache
from metafunc.execution.aot.serialise import restore

REQUEST, LIBRARY, LOG = "request.json", "step.so", "log.txt"
LOOK = 0.5
"""Seconds between two looks at whether another process still builds."""


class BuildError(RuntimeError):
    """A graph could not be compiled, and why."""


def possible(device: str) -> bool:
    """Whether libraries are made for a type of device on this system; elsewhere there is `tracing.compiled`."""
    return device == "cpu" and os.name == "posix"


def name_of(described: str) -> str:
    """The name of a graph's library: a sum of the graph, torch's version and threads, and the processor."""
    processor = {name: value for name, value in torch.cpu.get_capabilities().items() if name != "num_logical_cores"}
    parts = (described, torch.__version__, torch.get_num_threads(), sorted(processor.items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def cached(described: str) -> bool:
    """Whether the cache has a library for a graph."""
    return (code_cache.folder() / f"{name_of(described)}{code_cache.LIBRARY}").exists()


def usual_seconds(described: str) -> float | None:
    """How long the graph's library took to build here, or others did; None: nothing is known."""
    return code_cache.build_seconds(code_cache.folder(), name_of(described))


class Build:
    """A compile that goes on in another process, in a new session; there is none if the cache has the library.

    One process at a time builds a library: the others wait for it, and build it themselves if that one ends without.

    Args:
        described: the graph, from `describe`.
        niceness: how far it steps back behind other processes, 0 to 19.
        builds: whether to compile what the cache does not have; else another process does, and puts it there.
    """

    def __init__(self, described: str, *, niceness: int, builds: bool = True) -> None:
        self.folder, self.name = code_cache.folder(), name_of(described)
        self.described, self.niceness, self.builds = described, niceness, builds
        self.process: subprocess.Popen[bytes] | None = None
        self.held: int | None = None
        self.lost: BuildError | None = None
        self.kept = None if builds else self._kept()
        self.stored, self.began = False, -LOOK
        self._begin()

    def _begin(self) -> None:
        """Begin to build what the cache does not have, unless another process does, or is to do it."""
        if self.kept is not None or not self.builds or time.monotonic() - self.began < LOOK:
            return
        self.began = time.monotonic()
        with code_cache.opened(self.folder) as handle:
            self.held = code_cache.reserve(handle, self.name)
            if self.held is None:
                return
            try:
                self.kept = code_cache.read(handle, self.name)
                if self.kept is None:
                    self._start()
            finally:
                if self.process is None:
                    self._release()

    def _start(self) -> None:
        named = code_cache.named()
        self.place = Path(tempfile.mkdtemp(prefix=code_cache.BUILDING, dir=self.folder))
        try:
            # Unless the user has named one, the compiler gets a new folder: it loads only what it has made itself.
            self.process = self._begun({code_cache.INDUCTOR: str(self.place / "inductor"), **named})
        except BaseException:
            shutil.rmtree(self.place, ignore_errors=True)
            raise

    @property
    def elsewhere(self) -> bool:
        """Whether another process builds, or is to build, what the cache does not have."""
        return self.process is None and self.kept is None

    def _kept(self) -> bytes | None:
        with code_cache.opened(self.folder) as handle:
            return code_cache.read(handle, self.name)

    def _begun(self, own: dict[str, str]) -> "subprocess.Popen[bytes]":
        request = {"graph": self.described, "threads": torch.get_num_threads(), "niceness": self.niceness}
        (self.place / REQUEST).write_text(json.dumps(request))
        with (self.place / LOG).open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "metafunc.execution.aot.build", str(self.place)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **own, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    def done(self) -> bool:
        """Whether it has ended, well or not; of one elsewhere, whether the cache has what it made."""
        if self.elsewhere:
            self._look()
            if self.elsewhere:
                return self.lost is not None
        over = self.process is None or self.process.poll() is not None
        if over and self.process is not None and not self.stored and not self.failed():
            self._store()
        return over

    def _look(self) -> None:
        """Look whether another process has built, or has ended without; steps do not end with a cache that is lost."""
        try:
            if not self.builds and (self.folder / f"{self.name}{code_cache.LIBRARY}").exists():
                self.kept = self._kept()
            self._begin()
        except (code_cache.CacheError, OSError) as error:
            self.lost = BuildError(str(error))

    def failed(self) -> bool:
        """Whether it has ended without a library."""
        if self.lost is not None:
            return True
        if self.process is None or self.process.poll() is None:
            return False
        return bool(self.process.returncode) or not (self.place / LIBRARY).exists()

    def wait(self, halted: Callable[[], bool]) -> bool:
        """Wait for the end, or until `halted`; returns whether it has ended.

        What another rank is to build is not waited for, since it may never be there.
        """
        while not (over := self.done() or not self.builds) and not halted():
            time.sleep(0.02)
        return over

    def load(self) -> Callable[[list[Tensor]], list[Tensor]]:
        """The library's function of the inputs; for when it is done.

        Raises:
            BuildError: there is none; reports what the compiler reported.
        """
        if self.lost is not None:
            raise self.lost
        if self.process is None:
            if self.kept is None:
                raise BuildError("the first rank of this machine has not compiled it")
            self.place = Path(tempfile.mkdtemp(prefix=code_cache.BUILDING, dir=self.folder))
            try:
                (self.place / LIBRARY).write_bytes(self.kept)  # what was checked is what is loaded
                return self._loaded()
            finally:
                shutil.rmtree(self.place, ignore_errors=True)
        if self.failed():
            printed = (self.place / LOG).read_text(errors="replace").splitlines()
            lines = [line for line in printed if line.strip() and not line[0].isspace()]
            raise BuildError(lines[-1] if lines else f"the compiler ended with code {self.process.returncode}")
        try:
            return self._loaded()
        finally:
            self.close()

    def _store(self) -> None:
        """Put the library into the cache, where other processes find it."""
        self.stored = True
        try:
            with code_cache.opened(self.folder) as handle:
                code_cache.keep(handle, self.name, (self.place / LIBRARY).read_bytes())
                code_cache.keep_seconds(handle, self.folder, self.name, time.monotonic() - self.began)
        except (code_cache.CacheError, OSError) as error:  # such as a full disk
            warnings.warn(f"compiled code cannot be kept in {self.folder} ({error})", stacklevel=2)

    def _loaded(self) -> Callable[[list[Tensor]], list[Tensor]]:
        try:
            run: Callable[[list[Tensor]], list[Tensor]] = torch._C._aoti.AOTIModelContainerRunnerCpu(
                str(self.place / LIBRARY), 1
            ).run
        except RuntimeError as error:
            (self.folder / f"{self.name}{code_cache.LIBRARY}").unlink(missing_ok=True)  # the next run makes it again
            raise BuildError(f"{self.name} cannot be loaded: {error}") from error
        return run

    def _release(self) -> None:
        if self.held is not None:
            code_cache.release(self.folder, self.name, self.held)
            self.held = None

    def close(self) -> None:
        """End the process and everything that it started, and put what it left away."""
        if self.process is None:
            return
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process = None
        shutil.rmtree(self.place, ignore_errors=True)
        self._release()
        code_cache.prune(self.folder)


def _end_with_parent() -> None:
    """The process that waits for the library holds the other end of standard input; the compiler ends with it."""
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def check_calls(graph: fx.GraphModule) -> None:
    """Refuse a graph with operations that a library cannot call, before minutes are spent on it.

    Where inductor has no code of its own for an operation, the library calls torch's, through an interface that lists a
    part of them: matrix factorisations are not among them.

    Raises:
        BuildError: there are such operations.
    """
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.lowering import fallbacks
    from torchgen.aoti.fallback_ops import inductor_fallback_ops as callable_ones

    taken_apart = select_decomp_table()
    targets = [node.target for node in graph.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    called = [target for target in targets if target in fallbacks and target not in taken_apart]
    if missing := sorted({str(target) for target in called} - {*callable_ones}):
        raise BuildError(f"compiled code cannot call {', '.join(missing)}")


def main(place: Path) -> None:
    """Compile what is asked for in a folder."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = json.loads((place / REQUEST).read_text())
    os.nice(request["niceness"])
    torch.set_num_threads(request["threads"])
    from torch import _inductor  # a second that only this process needs to spend

    graph, inputs = restore(request["graph"])
    check_calls(graph)
    with torch.no_grad():
        _inductor.aot_compile(
            graph, inputs, options={"aot_inductor.output_path": str(place / LIBRARY), "compile_threads": 1}
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
