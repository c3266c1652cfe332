r"""The inner loop: how parameters are adapted to a support set.

A step is an `Adapt`: (params, support) to params. `descend` makes one from a loss and an optimiser; `first_order`,
`masked`, `clipped` and `rematerialised` change it; `repeat` and `path` run it K times:

$$\theta_{k+1} = \theta_k - \alpha \nabla L(\theta_k; D^{\mathrm{support}}), \qquad k = 0, \dots, K-1.$$

Nothing here stops a derivative except `first_order`, so `torch.func.grad` through K steps is the exact meta-gradient
$(I - \alpha H(\theta_0)) \cdots (I - \alpha H(\theta_{K-1})) \nabla L^{\mathrm{query}}(\theta_K)$.
"""

from metafunc.transforms.inner.counted import drawing_counts as drawing_counts
from metafunc.transforms.inner.counted import repeat_counted as repeat_counted
from metafunc.transforms.inner.rematerialise import rematerialised as rematerialised
from metafunc.transforms.inner.step import Direction as Direction
from metafunc.transforms.inner.step import Select as Select
from metafunc.transforms.inner.step import Step as Step
from metafunc.transforms.inner.step import clipped as clipped
from metafunc.transforms.inner.step import descend as descend
from metafunc.transforms.inner.step import everything as everything
from metafunc.transforms.inner.step import first_order as first_order
from metafunc.transforms.inner.step import masked as masked
from metafunc.transforms.inner.step import proximal as proximal
from metafunc.transforms.inner.unroll import conditioning_path as conditioning_path
from metafunc.transforms.inner.unroll import gradient_descent as gradient_descent
from metafunc.transforms.inner.unroll import path as path
from metafunc.transforms.inner.unroll import repeat as repeat
from metafunc.transforms.inner.unroll import settling_path as settling_path
from metafunc.transforms.inner.unroll import trajectory as trajectory
