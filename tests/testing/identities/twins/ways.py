"""A quick way that drops a term of what it is by definition."""

from dataclasses import replace

from metafunc.types import FastLoss

from .cases import LEARNER, twin


def forgetful():
    plain = LEARNER.learner.task_loss

    def penalised(meta, task):
        return plain(meta, task) + 1e-6 * meta["head.weight"].square().sum()

    return replace(LEARNER, learner=replace(LEARNER.learner, task_loss=FastLoss(plain, definition=penalised)))


TWINS = [twin("every_way", forgetful)]
