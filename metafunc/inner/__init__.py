r"""The inner loop: how parameters are adapted to a support set.

A step is an `Adapt`: (params, support) to params. `descend` makes one from a loss and an optimiser; `first_order`,
`masked`, `clipped` and `rematerialised` change it; `repeat` and `path` run it K times:

$$\theta_{k+1} = \theta_k - \alpha \nabla L(\theta_k; D^{\mathrm{support}}), \qquad k = 0, \dots, K-1.$$

Nothing here stops a derivative except `first_order`, so `torch.func.grad` through K steps is the exact meta-gradient
$(I - \alpha H(\theta_0)) \cdots (I - \alpha H(\theta_{K-1})) \nabla L^{\mathrm{query}}(\theta_K)$.
"""

from metafunc.inner.loop import check_num_steps as check_num_steps
from metafunc.inner.loop import gradient_descent as gradient_descent
from metafunc.inner.loop import path as path
from metafunc.inner.loop import repeat as repeat
from metafunc.inner.loop import trajectory as trajectory
from metafunc.inner.rematerialise import rematerialised as rematerialised
from metafunc.inner.step import Direction as Direction
from metafunc.inner.step import Select as Select
from metafunc.inner.step import Step as Step
from metafunc.inner.step import clipped as clipped
from metafunc.inner.step import descend as descend
from metafunc.inner.step import everything as everything
from metafunc.inner.step import first_order as first_order
from metafunc.inner.step import masked as masked
from metafunc.inner.step import proximal as proximal
