"""Meta-learners as models of botorch: adapt to observations, and optimise acquisitions in a box. Not on the face."""

try:
    import botorch as _  # noqa: F401 - whether it is there
except ModuleNotFoundError as error:
    if error.name != "botorch":
        raise
    raise ModuleNotFoundError(
        "metafunc.botorch needs botorch: pip install 'metafunc[botorch]'", name="botorch"
    ) from None

from metafunc.botorch.box import Axis as Axis
from metafunc.botorch.box import Proposal as Proposal
from metafunc.botorch.box import propose as propose
from metafunc.botorch.model import MetaModel as MetaModel
