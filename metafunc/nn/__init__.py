"""Networks as pure functions: each builder returns a `Model`, whose second-order gradients are exact."""

from metafunc.nn.from_module import BatchNorm as BatchNorm
from metafunc.nn.from_module import from_module as from_module
from metafunc.nn.layers import Initialisation as Initialisation
from metafunc.nn.models import Activation as Activation
from metafunc.nn.models import Pooling as Pooling
from metafunc.nn.models import conv4 as conv4
from metafunc.nn.models import mlp as mlp
from metafunc.nn.resnet import resnet12 as resnet12
