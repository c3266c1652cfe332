"""Wrong twins: wrong in the way that an identity is about; a file for each file of identities."""

from . import (
    chaser,
    coherence,
    curvature,
    ensembles,
    implicit,
    learners,
    linear_gaussian,
    meta_gradient,
    optimum,
    policy_gradient,
    purity,
    quadratic,
    stein,
    updates,
    variational,
    ways,
)

FILES = (
    meta_gradient,
    updates,
    purity,
    curvature,
    quadratic,
    implicit,
    linear_gaussian,
    ensembles,
    stein,
    chaser,
    variational,
    policy_gradient,
    optimum,
    learners,
    ways,
    coherence,
)
TWINS = [twin for file in FILES for twin in file.TWINS]
