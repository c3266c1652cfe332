"""metafunc's step cut into shards, which ranks share: one of these processes, or the only one."""

from benchmarks.speed.contenders import with_metafunc
from benchmarks.speed.workloads import OnStep, Workload
from metafunc import Execution
from metafunc.execution import distributed


def train(work: Workload, on_step: OnStep, option: str) -> None:
    """Meta-train; the option has the shards and the threads, as in "2 1"."""
    shards, threads = map(int, option.split())
    with distributed.join() as ranks:
        execution = Execution("off", threads=threads, shards=shards)
        with_metafunc.fitted(work, on_step, with_metafunc.learner_of(work, ""), execution, ranks)
