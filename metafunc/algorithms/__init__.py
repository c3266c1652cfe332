"""Meta-learning algorithms: one paper a file, and the table that the tests, the command line and the docs read."""

from metafunc.algorithms.abml import abml as abml
from metafunc.algorithms.anil import anil as anil
from metafunc.algorithms.cnp import cnp as cnp
from metafunc.algorithms.fomaml import fomaml as fomaml
from metafunc.algorithms.imaml import imaml as imaml
from metafunc.algorithms.llama import llama as llama
from metafunc.algorithms.maml import maml as maml
from metafunc.algorithms.maml_noise import maml_noise as maml_noise
from metafunc.algorithms.maml_plus_plus import maml_plus_plus as maml_plus_plus
from metafunc.algorithms.meta_sgd import meta_sgd as meta_sgd
from metafunc.algorithms.mr_cnp import mr_cnp_a as mr_cnp_a
from metafunc.algorithms.mr_cnp import mr_cnp_w as mr_cnp_w
from metafunc.algorithms.mr_maml_a import mr_maml_a as mr_maml_a
from metafunc.algorithms.mr_maml_w import mr_maml_w as mr_maml_w
from metafunc.algorithms.platipus import platipus as platipus
from metafunc.algorithms.pretrain import pretrain as pretrain
from metafunc.algorithms.protonet import protonet as protonet
from metafunc.algorithms.reptile import reptile as reptile
from metafunc.algorithms.scratch import scratch as scratch
from metafunc.algorithms.table import ALGORITHMS as ALGORITHMS
from metafunc.algorithms.table import Row as Row
from metafunc.algorithms.table import build as build
from metafunc.algorithms.vampire import vampire as vampire
