"""The public test kit: small problems in double precision, and the checks that every learner in metafunc passes."""

from metafunc.testing.conformance import check_learner as check_learner
from metafunc.testing.problems import duplicated as duplicated
from metafunc.testing.problems import network as network
from metafunc.testing.problems import padded as padded
from metafunc.testing.problems import random_tasks as random_tasks
