"""Every algorithm, task family, network and outer update, written by `nox -s config`: do not edit.

It repeats the builders' signatures and docstrings, so that the command line can answer without importing torch.
"""
# ruff: noqa: E501 - the help texts are not wrapped, since the terminal does that

from dataclasses import dataclass
from typing import Literal, TypeAlias

from metafunc_cli.settings.rows import Row


@dataclass(frozen=True, repr=False, eq=False)
class Maml:
    """MAML: an initialisation from which a few exact gradient steps solve a task."""

    inner_lr: float = 0.01
    """step size of the inner gradient descent."""
    num_steps: int = 1
    """inner steps in training."""
    rematerialise: bool = False
    """keep of an inner step its parameters only, and take it again on the way back: the same meta-gradient in less memory, for two to three times the time; such steps are neither traced nor compiled."""


@dataclass(frozen=True, repr=False, eq=False)
class Fomaml:
    """FOMAML: MAML with the second derivative left out."""

    inner_lr: float = 0.01
    """step size of the inner gradient descent."""
    num_steps: int = 1
    """inner steps in training."""


@dataclass(frozen=True, repr=False, eq=False)
class Reptile:
    """Reptile: an initialisation moved towards where plain training on each task ends."""

    inner_lr: float = 0.001
    """step size of the inner optimiser."""
    num_steps: int = 5
    """inner steps in training."""
    batch_size: int = 10
    """rows in an inner minibatch in training; 0 takes all rows at once."""
    optimiser: Literal["adam", "sgd"] = "adam"
    """the inner optimiser; adam has no momentum (its first decay is 0)."""


@dataclass(frozen=True, repr=False, eq=False)
class Anil:
    """ANIL: MAML whose inner loop adapts the last layer only."""

    inner_lr: float = 0.01
    """step size of the inner gradient descent."""
    num_steps: int = 5
    """inner steps in training."""
    head: str = "head."
    """how the names of the adapted parameters begin."""


@dataclass(frozen=True, repr=False, eq=False)
class MetaSgd:
    """Meta-SGD: an initialisation and a step size for each of its numbers, learned together."""

    inner_lr: float = 0.01
    """every step size at the start of training."""
    num_steps: int = 1
    """inner steps in training."""


@dataclass(frozen=True, repr=False, eq=False)
class MamlPlusPlus:
    """MAML++: MAML with a loss after every inner step, and step sizes learned for every layer and step."""

    inner_lr: float = 0.01
    """every step size at the start of training."""
    num_steps: int = 5
    """inner steps in training; further steps take the last one's sizes."""
    multi_step_epochs: int = 15
    """epochs in which every inner step's query loss counts; 0 leaves only the last one's."""
    steps_per_epoch: int = 500
    """outer steps that make an epoch."""


@dataclass(frozen=True, repr=False, eq=False)
class Imaml:
    """Implicit MAML: solve each task near the initialisation, and differentiate the solution, not its path."""

    inner_lr: float = 0.1
    """step size of the inner gradient descent; below 2 over the sum of the largest curvature and strength."""
    num_steps: int = 16
    """inner steps in training; enough of them to converge."""
    strength: float = 2.0
    """weight of the pull towards the meta-parameters."""
    cg_steps: int = 5
    """steps of the conjugate gradients that apply the inverse."""
    cg_damping: float = 0.0
    """added to the Hessian inside the conjugate gradients, for losses that are far from convex."""
    dense_limit: int = 256
    """up to this number of parameters the inverse is applied by factorising the Hessian instead."""


@dataclass(frozen=True, repr=False, eq=False)
class Emaml:
    """EMAML: an ensemble of independent initialisations, each meta-trained by MAML."""

    num_particles: int = 10
    """members of the ensemble."""
    inner_lr: float = 0.01
    """step size of the inner gradient descent."""
    num_steps: int = 1
    """inner steps in training."""


@dataclass(frozen=True, repr=False, eq=False)
class Bmaml:
    """BMAML: an ensemble from which a few steps of SVGD approximate a task's posterior."""

    num_particles: int = 10
    """particles."""
    inner_lr: float = 0.001
    """step size of Stein variational gradient descent, on log-probabilities summed over rows."""
    num_steps: int = 1
    """its steps in training, of the chaser."""
    objective: Literal["chaser", "bfa"] = "chaser"
    """the meta-loss; chaser compares with a leader, bfa is the query's log predictive probability."""
    leader_steps: int = 1
    """steps of the leader beyond the chaser."""
    noise_scale: float = 0.1
    """the noise scale that particles start from, in units of y."""
    own: str = ""
    """how the names of the parameters begin that each particle has to itself; the others are shared and are not adapted."""
    random_steps: bool = False
    """train through 1 to num_steps steps, a number drawn with each task."""
    settle: bool = False
    """shorten the steps beyond num_steps at meta-test to 1/2, 1/3, ... of inner_lr."""
    precondition: Literal["none", "noise"] = "none"
    """divide the steps of a particle's weights by the precision of its noise, or not."""
    weight_scale: float | None = None
    """the standard deviation of the prior of the weights; None: each particle learns its own."""
    bandwidth: float | None = None
    """of the kernel between particles; None: by the median of their squared distances."""
    hyperprior_weight: float = 0.0
    """the weight of the noise precisions' log-prior in the meta-loss bfa, which keeps them from growing with what the training tasks let them."""


@dataclass(frozen=True, repr=False, eq=False)
class Protonet:
    """Prototypical networks: classify by the nearest class mean in a learned feature space."""


@dataclass(frozen=True, repr=False, eq=False)
class Pcoc:
    """PCOC: Gaussian classes in a learned feature space, with an exact posterior over their means."""

    num_features: int = 64
    """how many numbers the network puts out."""


@dataclass(frozen=True, repr=False, eq=False)
class Metaqda:
    """MetaQDA: Gaussian classes in a learned feature space, with a posterior over means and covariances."""

    num_features: int = 32
    """how many numbers the network puts out; a class has a covariance matrix of that size."""
    inference: Literal["bayesian", "map"] = "bayesian"
    """"bayesian" averages over a class's posterior, "map" takes its likeliest mean and covariance."""


@dataclass(frozen=True, repr=False, eq=False)
class Cnp:
    """Conditional neural process: a task is the mean of its embedded rows, and a decoder predicts from it."""

    noise_floor: float | None = None
    """the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is higher; None: half of the noise that a configuration's family states, and .1, the CNP paper's, at most."""


@dataclass(frozen=True, repr=False, eq=False)
class Np:
    """Neural process: a latent variable for each task, inferred from the mean of its embedded rows."""

    width: int = 128
    """numbers in r."""
    num_latents: int = 128
    """numbers in z."""
    num_particles: int = 10
    """draws of z, in training and in testing."""
    objective: Literal["npvi", "npml"] = "npvi"
    """"npvi", the lower bound, or "npml", the likelihood of the query over the draws."""
    noise_floor: float | None = None
    """the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is higher; None: half of the noise that a configuration's family states, and .1, the CNP paper's, at most."""


@dataclass(frozen=True, repr=False, eq=False)
class Anp:
    """Attentive neural process: a latent variable for each task, and attention from query places to support rows."""

    width: int = 128
    """numbers in r(x)."""
    num_heads: int = 8
    """heads of both attentions; they divide the width."""
    num_hidden: int = 128
    """hidden units of the perceptron that ends an attention."""
    num_latents: int = 128
    """numbers in z."""
    num_particles: int = 10
    """draws of z, in training and in testing."""
    objective: Literal["npvi", "npml"] = "npvi"
    """"npvi", the lower bound, or "npml", the likelihood of the query over the draws."""
    noise_floor: float | None = None
    """the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is higher; None: half of the noise that a configuration's family states, and .1, the CNP paper's, at most."""


@dataclass(frozen=True, repr=False, eq=False)
class Convcnp:
    """Convolutional conditional neural process: support rows become a function on a grid, and convolutions act there."""

    points_per_unit: int = 32
    """points of the grid in a unit of x; the authors have 64 for one input."""
    span: float = 11.0
    """how far apart the inputs of a task, support and query together, may be, in units of x."""
    channels: int = 32
    """features at a point of the grid."""
    num_layers: int = 6
    """convolutions on the grid; each sees twice as far as the one before."""
    head: Literal["gaussian", "mixture", "bins"] = "gaussian"
    """"gaussian" keeps the likelihood, "mixture" predicts a mixture of Gaussians, "bins" weights of bins on a fixed grid, for one output."""
    num_components: int = 5
    """Gaussians of a mixture."""
    num_bins: int = 100
    """bins."""
    bin_range: float = 3.0
    """the bins lie between minus this and this, in units of y."""
    noise_floor: float = 0.01
    """the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is higher; bins have the width that they have."""


@dataclass(frozen=True, repr=False, eq=False)
class Tnp:
    """Transformer neural process: query rows attend to the support set's rows, layer by layer."""

    width: int = 64
    """numbers in a token."""
    num_heads: int = 4
    """heads of each layer's attention."""
    num_layers: int = 6
    """layers of the transformer."""
    num_hidden: int = 128
    """hidden units of each layer's perceptron."""
    head: Literal["gaussian", "mixture", "bins"] = "gaussian"
    """"gaussian" keeps the likelihood, "mixture" predicts a mixture of Gaussians, "bins" weights of bins on a fixed grid, for one output."""
    num_components: int = 5
    """Gaussians of a mixture."""
    num_bins: int = 100
    """bins."""
    bin_range: float = 3.0
    """the bins lie between minus this and this, in units of y."""
    noise_floor: float = 0.01
    """the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is higher; bins have the width that they have."""


@dataclass(frozen=True, repr=False, eq=False)
class Alpaca:
    """ALPaCA: exact Bayesian linear regression on learned features, for regression."""

    num_features: int = 40
    """how many numbers the network puts out."""
    noise_scale: float = 0.1
    """the noise scale that is started from, in units of y."""


@dataclass(frozen=True, repr=False, eq=False)
class Mixed:
    """Linear mixed model: Bayesian regression on fixed features, whose prior is learned from all tasks."""

    features: Literal["linear", "polynomial", "spline"] = "linear"
    """which features: the inputs, polynomials of each, or natural cubic splines of each."""
    degree: int = 3
    """the polynomials' highest degree."""
    num_knots: int = 7
    """the splines' knots, equally spaced."""
    low: float = -2.5
    """the first knot, in units of the inputs."""
    high: float = 2.5
    """the last."""
    scale: float = 1.0
    """the standard deviation of a coefficient that is started from and shrunk to, in units of y."""
    noise_scale: float = 0.1
    """the noise scale that is started from, in units of y."""
    shrinkage: float = 1.0
    """how many tasks the start's covariance counts for, c."""
    num_train_tasks: int | None = None
    """how many tasks there are to train on, n, which is what these weigh against; None: as many as there are in a table that a configuration names, and 20 elsewhere."""


@dataclass(frozen=True, repr=False, eq=False)
class Dkt:
    """Deep kernel transfer: an exact Gaussian process on features that all tasks share."""

    kernel: Literal["spectral", "rbf", "matern", "linear", "cosine"] | None = None
    """the kernel on features; by default "spectral" for numbers, which extrapolates what repeats, and "linear" for classes, whose features may lie far apart and still have a gradient."""
    num_features: int = 40
    """how many numbers the network puts out."""
    num_components: int = 4
    """Gaussians in the spectral kernel's density."""
    frequency: float = 1.0
    """the standard deviation of the frequencies that the spectral kernel starts from, in periods per unit of a feature."""
    noise_scale: float = 0.1
    """the noise scale that is started from, in units of y; for regression."""
    num_particles: int = 64
    """points of the quadrature over the processes of all classes; for classification."""


@dataclass(frozen=True, repr=False, eq=False)
class PacohGp:
    """PACOH-GP: particles that are Gaussian-process priors, moved by SVGD to the PAC-optimal hyper-posterior."""

    num_particles: int = 10
    """priors; one is the maximum of the hyper-posterior, PACOH-MAP."""
    num_features: int = 2
    """how many numbers the features' network puts out."""
    kernel: Literal["rbf", "matern"] = "rbf"
    """the kernel on features."""
    num_train_tasks: int | None = None
    """how many tasks there are to train on, n, which is what the hyper-prior weighs against; None: as many as there are in a table that a configuration names, and 20 elsewhere."""
    hyperprior_weight: float = 1.0
    """the weight of the hyper-prior's logarithm; 1 in the theory, .01 in the authors' code."""
    weight_spread: float = 0.5
    """the hyper-prior's standard deviation of a weight; 1 in some implementations."""
    bias_spread: float = 3.0
    """the hyper-prior's standard deviation of a bias."""
    scale: float = 1.0
    """the standard deviation of the functions, and the unit of noise and mean, in units of y."""
    bandwidth: float | None = None
    """of Stein's kernel between priors; None for the median of their squared distances."""
    start: Literal["hyperprior", "network"] = "hyperprior"
    """where particles start: drawn from the hyper-prior as the authors do, or as the networks start."""


@dataclass(frozen=True, repr=False, eq=False)
class EmpiricalGp:
    """Empirical GP: a Gaussian process whose mean and covariance on a grid are learned freely, for few inputs."""

    num_inducing: int = 30
    """inducing inputs at most, on a grid with equally many along each input."""
    low: float = -5.0
    """where the grid begins, in units of the inputs."""
    high: float = 5.0
    """where it ends."""
    kernel: Literal["matern", "rbf"] = "matern"
    """the kernel that interpolates, and that the covariance starts from."""
    lengthscale: float = 1.0
    """its length scale, in units of the inputs."""
    scale: float = 1.0
    """its standard deviation, in units of y."""
    noise_scale: float = 0.1
    """the noise scale that is started from, in units of y."""
    prior_tasks: float = 1.0
    """how many tasks the kernel's own covariance counts for, c."""
    num_train_tasks: int | None = None
    """how many tasks there are to train on, n, which is what these weigh against; None: as many as there are in a table that a configuration names, and 20 elsewhere."""
    start: Literal["kernel", "em"] = "kernel"
    """where a training begins: at the kernel's own covariance, or at what EM makes of training tasks."""


@dataclass(frozen=True, repr=False, eq=False)
class Versa:
    """VERSA: the last layer's weights are drawn from what a network makes of the support set's mean features."""

    num_features: int = 40
    """how many numbers features puts out."""
    num_particles: int = 10
    """draws of the last layer, S, in training and in testing."""
    noise_scale: float = 0.1
    """the noise scale that regression starts from, in units of y."""


@dataclass(frozen=True, repr=False, eq=False)
class MamlNoise:
    """MAML with noise: the initialisation is moved at random before it is adapted."""

    inner_lr: float = 0.01
    """step size of the inner gradient descent."""
    num_steps: int = 1
    """inner steps in training."""
    noise_scale: float = 0.1
    """standard deviation of the noise on every parameter."""
    num_particles: int = 10
    """draws at meta-test; training takes one per task and step."""


@dataclass(frozen=True, repr=False, eq=False)
class Platipus:
    """PLATIPUS: MAML from an initialisation drawn from a learned prior that the support set conditions."""

    inner_lr: float = 0.01
    """step size of the inner gradient descent."""
    num_steps: int = 5
    """inner steps in training."""
    kl_weight: float = 0.1
    """the weight of the divergence of posterior and prior."""
    scale: float = 0.02
    """the standard deviation that both start from, learned for every parameter."""
    mean_lr: float = 0.01
    """the step size that both means start from, learned for every leaf."""
    num_particles: int = 10
    """draws at meta-test; training takes one per task and step."""
    posterior_data: Literal["query", "both"] = "query"
    """what the variational posterior's mean takes its step on: the query set, as the paper's algorithm has it, or support and query together, as its derivation conditions on."""
    noise: Literal["none", "learned", "input"] = "none"
    """the noise scale in a regression's loss: none, one more parameter, drawn and adapted with the others, or the network's own at every input."""
    noise_scale: float = 0.7
    """where a learned one starts, in units of y."""


@dataclass(frozen=True, repr=False, eq=False)
class Abml:
    """ABML: a learned Gaussian prior that a few gradient steps turn into a task's variational posterior."""

    inner_lr: float = 0.01
    """step size of the inner gradient descent on means and log-scales."""
    num_steps: int = 5
    """inner steps in training."""
    kl_weight: float = 0.1
    """the weight of the divergence of posterior and prior, inside and outside."""
    scale: float = 0.05
    """the standard deviation that every weight of the prior starts from."""
    hyperprior_weight: float = 1e-05
    """the weight of the hyperprior; one over the number of training tasks in the paper."""
    num_samples: int = 5
    """draws of an expectation in training and in the inner loop."""
    num_particles: int = 10
    """draws of a task's posterior at meta-test."""
    noise: Literal["none", "learned", "input"] = "none"
    """the noise scale in a regression's loss: none, one more parameter, drawn and adapted with the others, or the network's own at every input."""
    noise_scale: float = 0.7
    """where a learned one starts, in units of y."""


@dataclass(frozen=True, repr=False, eq=False)
class Vampire:
    """VAMPIRE: a Gaussian prior, trained for how its variational posteriors predict."""

    inner_lr: float = 0.01
    """step size of the inner gradient descent on means and log-scales."""
    num_steps: int = 5
    """inner steps in training."""
    kl_weight: float = 0.1
    """the weight of the divergence of posterior and prior in the inner loop."""
    scale: float = 0.05
    """the standard deviation that every weight of the prior starts from."""
    num_samples: int = 5
    """draws of an expectation in training and in the inner loop."""
    num_particles: int = 10
    """draws of a task's posterior at meta-test."""
    noise: Literal["none", "learned", "input"] = "none"
    """the noise scale in a regression's loss: none, one more parameter, drawn and adapted with the others, or the network's own at every input."""
    noise_scale: float = 0.7
    """where a learned one starts, in units of y."""


@dataclass(frozen=True, repr=False, eq=False)
class Pacoh:
    """PACOH: particles that are priors over networks, moved by SVGD to the PAC-optimal hyper-posterior."""

    num_priors: int = 3
    """priors, K."""
    num_samples: int = 5
    """networks that a task's marginal likelihood is estimated from, for each prior."""
    num_particles: int = 5
    """networks per prior at meta-test."""
    inner_lr: float = 0.01
    """step size of Adam in the inference of a task's networks."""
    num_steps: int = 10
    """its steps."""
    num_train_tasks: int | None = None
    """how many tasks there are to train on, n, which is what the hyper-prior weighs against; None: as many as there are in a table that a configuration names, and 100 elsewhere."""
    tempering: float = 1.0
    """the power p of a task's rows and of the number of tasks; .5 is the authors' code, 1 is Bayes' rule."""
    hyperprior_weight: float = 1.0
    """the weight w of the hyper-prior's logarithm; 1 in the theory, less in the authors' code."""
    prior_weight: float = 1.0
    """the weight v of a prior's logarithm at meta-test; 1 in the theory, .1 in the authors' code."""
    scale: float = 0.05
    """the standard deviation that every weight of the priors starts from, and that the hyper-prior expects."""
    noise_scale: float = 0.1
    """the noise scale that is started from and expected, in units of y."""


@dataclass(frozen=True, repr=False, eq=False)
class Llama:
    """LLAMA: MAML whose meta-loss counts the curvature at the adapted parameters, by Laplace's approximation."""

    inner_lr: float = 0.01
    """step size of the inner gradient descent."""
    num_steps: int = 1
    """inner steps in training."""
    curvature_weight: float = 1e-06
    """the weight of half the log-determinant, the paper's."""


@dataclass(frozen=True, repr=False, eq=False)
class MrMamlW:
    """MR-MAML on weights: a regularised, unadapted encoder that cannot memorise the tasks, and an adapted head."""

    inner_lr: float = 0.01
    """step size of the inner gradient descent."""
    num_steps: int = 1
    """inner steps in training."""
    kl_weight: float = 0.0001
    """the weight of the divergence of the encoder's weights, per nat."""
    encoder: str = "layer1."
    """how the names of the encoder's parameters begin; several beginnings are separated by commas."""
    scale: float = 0.02
    """the standard deviation that every weight of the encoder starts from."""
    num_particles: int = 10
    """draws at meta-test; training takes one."""
    draws: Literal["batch", "task"] = "batch"
    """what an encoder is drawn for in training: once for all tasks of a step, or for each task."""


@dataclass(frozen=True, repr=False, eq=False)
class MrMamlA:
    """MR-MAML on activations: a noisy code of the inputs that cannot hold the answer, and an adapted head."""

    inner_lr: float = 0.01
    """step size of the inner gradient descent."""
    num_steps: int = 1
    """inner steps in training."""
    kl_weight: float = 0.1
    """the weight of the codes' divergence, per nat."""


@dataclass(frozen=True, repr=False, eq=False)
class MrCnpW:
    """MR-CNP on weights: a conditional neural process behind an encoder whose weights' information is penalised."""

    kl_weight: float = 0.001
    """the weight of the divergence of the encoder's weights, per nat."""
    scale: float = 0.02
    """the standard deviation that every weight of the encoder starts from."""
    num_particles: int = 10
    """draws at meta-test; training takes one per step, for all tasks."""
    noise_floor: float | None = None
    """the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is higher; None: half of the noise that a configuration's family states, and .1, the CNP paper's, at most."""


@dataclass(frozen=True, repr=False, eq=False)
class MrCnpA:
    """MR-CNP on activations: a conditional neural process behind noisy codes whose information is penalised."""

    kl_weight: float = 0.1
    """the weight of the codes' divergence, per nat."""
    noise_floor: float | None = None
    """the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is higher; None: half of the noise that a configuration's family states, and .1, the CNP paper's, at most."""


@dataclass(frozen=True, repr=False, eq=False)
class Pretrain:
    """Pretraining: one network on all tasks' data, then fine-tuned on a new task (a baseline)."""

    inner_lr: float = 0.01
    """step size of the fine-tuning."""
    num_steps: int = 10
    """steps of the fine-tuning; training takes none."""


@dataclass(frozen=True, repr=False, eq=False)
class DeepEnsemble:
    """Deep ensemble: independent members that differ in their random initialisation (by name: of pretrain)."""

    num_particles: int = 5
    """members of the ensemble."""
    inner_lr: float = 0.01
    """step size of the fine-tuning."""
    num_steps: int = 10
    """steps of the fine-tuning; training takes none."""


@dataclass(frozen=True, repr=False, eq=False)
class Scratch:
    """From scratch: each task is trained on by itself from a random initialisation (the floor of every comparison)."""

    inner_lr: float = 0.01
    """step size of the gradient descent on a task."""
    num_steps: int = 10
    """steps of the gradient descent on a task."""


@dataclass(frozen=True, repr=False, eq=False)
class Ridge:
    """Ridge regression on the support set alone: Bayesian, averaged over penalty and noise by evidence (a baseline)."""

    weight_scale: float = 1.0
    """how much of a function is expected to come from all inputs together, relative to its constant."""
    noise_scale: float = 0.3
    """the noise scale that is expected, relative to the constant's standard deviation."""
    scale: float = 1.0
    """the constant's standard deviation that is expected, in units of y; it counts as one row."""


@dataclass(frozen=True, repr=False, eq=False)
class GpSupport:
    """Gaussian process on the support set alone, averaged over length scale and noise (a baseline)."""

    lengthscale: float = 1.0
    """the length scale that is expected, in units of an input, times the root of their number."""
    noise_scale: float = 0.1
    """the noise scale that is expected, relative to the functions' standard deviation."""
    scale: float = 1.0
    """the functions' standard deviation that is expected, in units of y; it counts as one row."""


@dataclass(frozen=True, repr=False, eq=False)
class Exact:
    """The Bayes-optimal prediction of tasks whose distribution is known (the ceiling of every comparison)."""

    prior: str = "test"
    """the split or variant whose prior over tasks is taken: that of "train" of nme_sinusoid trusts the hint."""


@dataclass(frozen=True, repr=False, eq=False)
class MamlRl:
    """MAML for reinforcement learning: a policy that one policy-gradient step turns to a new task."""

    inner_lr: float = 0.1
    """step size of the inner loop, for normalised advantages averaged over time."""
    num_steps: int = 1
    """inner steps in training; pretraining takes none."""
    later_lr: float = 0.5
    """steps beyond the trained ones take this share of inner_lr."""
    num_trajectories: int = 20
    """trajectories of a data set in training, of each policy."""
    test_trajectories: int = 40
    """the same at meta-test."""
    init_std: float = 0.5
    """a Gaussian policy's standard deviation to begin with; it is learned, and adapted."""
    discount: float = 0.99
    """γ."""
    gae_lambda: float = 1.0
    """λ of the advantages."""
    learn_rates: bool = False
    """learn a step size for every parameter, from inner_lr on, as Meta-SGD does."""
    estimator: Literal["total_return", "reward_to_go", "lvc", "ratio", "dice", "loaded_dice"] = "reward_to_go"
    """the inner policy gradient."""
    credit: Literal["none", "sampling"] = "none"
    """"sampling" gives credit for the trajectories that adaptation sees."""


@dataclass(frozen=True, repr=False, eq=False)
class FomamlRl:
    """First-order MAML for reinforcement learning: no derivative passes through adaptation."""

    inner_lr: float = 0.1
    """step size of the inner loop, for normalised advantages averaged over time."""
    num_steps: int = 1
    """inner steps in training; pretraining takes none."""
    later_lr: float = 0.5
    """steps beyond the trained ones take this share of inner_lr."""
    num_trajectories: int = 20
    """trajectories of a data set in training, of each policy."""
    test_trajectories: int = 40
    """the same at meta-test."""
    init_std: float = 0.5
    """a Gaussian policy's standard deviation to begin with; it is learned, and adapted."""
    discount: float = 0.99
    """γ."""
    gae_lambda: float = 1.0
    """λ of the advantages."""


@dataclass(frozen=True, repr=False, eq=False)
class Promp:
    """ProMP: clipped likelihood ratios let the outer loop take several steps on the same trajectories."""

    inner_lr: float = 0.1
    """step size of the inner loop, for normalised advantages averaged over time."""
    num_steps: int = 1
    """inner steps in training; pretraining takes none."""
    later_lr: float = 0.5
    """steps beyond the trained ones take this share of inner_lr."""
    num_trajectories: int = 20
    """trajectories of a data set in training, of each policy."""
    test_trajectories: int = 40
    """the same at meta-test."""
    init_std: float = 0.5
    """a Gaussian policy's standard deviation to begin with; it is learned, and adapted."""
    discount: float = 0.99
    """γ."""
    gae_lambda: float = 1.0
    """λ of the advantages."""
    clip_ratio: float = 0.3
    """how far a likelihood ratio may move before it stops to count."""
    kl_weight: float = 0.0005
    """weight of the divergence from the policy that acted."""


@dataclass(frozen=True, repr=False, eq=False)
class BmamlRl:
    """Bayesian MAML for reinforcement learning: particles adapted by Stein variational policy gradients."""

    inner_lr: float = 0.1
    """step size of the inner loop, for normalised advantages averaged over time."""
    num_steps: int = 1
    """inner steps in training; pretraining takes none."""
    later_lr: float = 0.5
    """steps beyond the trained ones take this share of inner_lr."""
    num_trajectories: int = 10
    """trajectories of a data set in training, of each policy."""
    test_trajectories: int = 40
    """the same at meta-test."""
    init_std: float = 0.5
    """a Gaussian policy's standard deviation to begin with; it is learned, and adapted."""
    discount: float = 0.99
    """γ."""
    gae_lambda: float = 1.0
    """λ of the advantages."""
    num_particles: int = 5
    """policies."""
    objective: Literal["chaser", "return"] = "chaser"
    """"chaser", the distance to the leader; "return", that of the adapted policies."""
    leader_steps: int = 1
    """the leader's steps beyond the chaser's."""
    temperature: float = 0.1
    """the return counts for its inverse against the particles' repulsion."""


@dataclass(frozen=True, repr=False, eq=False)
class EmamlRl:
    """Ensemble MAML for reinforcement learning: particles that do not see each other."""

    inner_lr: float = 0.1
    """step size of the inner loop, for normalised advantages averaged over time."""
    num_steps: int = 1
    """inner steps in training; pretraining takes none."""
    later_lr: float = 0.5
    """steps beyond the trained ones take this share of inner_lr."""
    num_trajectories: int = 10
    """trajectories of a data set in training, of each policy."""
    test_trajectories: int = 40
    """the same at meta-test."""
    init_std: float = 0.5
    """a Gaussian policy's standard deviation to begin with; it is learned, and adapted."""
    discount: float = 0.99
    """γ."""
    gae_lambda: float = 1.0
    """λ of the advantages."""
    num_particles: int = 5
    """policies."""


@dataclass(frozen=True, repr=False, eq=False)
class PretrainRl:
    """One policy for all tasks, which only meta-test adapts."""

    inner_lr: float = 0.1
    """step size of the inner loop, for normalised advantages averaged over time."""
    num_steps: int = 1
    """inner steps in training; pretraining takes none."""
    later_lr: float = 0.5
    """steps beyond the trained ones take this share of inner_lr."""
    num_trajectories: int = 20
    """trajectories of a data set in training, of each policy."""
    test_trajectories: int = 40
    """the same at meta-test."""
    init_std: float = 0.5
    """a Gaussian policy's standard deviation to begin with; it is learned, and adapted."""
    discount: float = 0.99
    """γ."""
    gae_lambda: float = 1.0
    """λ of the advantages."""


@dataclass(frozen=True, repr=False, eq=False)
class RandomPolicy:
    """A randomly drawn policy that takes policy-gradient steps."""

    inner_lr: float = 0.1
    """step size of the inner loop, for normalised advantages averaged over time."""
    num_steps: int = 1
    """inner steps in training; pretraining takes none."""
    later_lr: float = 0.5
    """steps beyond the trained ones take this share of inner_lr."""
    test_trajectories: int = 40
    """the same at meta-test."""
    init_std: float = 1.0
    """a Gaussian policy's standard deviation to begin with; it is learned, and adapted."""
    discount: float = 0.99
    """γ."""
    gae_lambda: float = 1.0
    """λ of the advantages."""


@dataclass(frozen=True, repr=False, eq=False)
class OraclePolicy:
    """A task-conditioned policy, trained by policy gradients; it does not adapt."""

    num_trajectories: int = 20
    """trajectories of a data set in training, of each policy."""
    test_trajectories: int = 40
    """the same at meta-test."""
    init_std: float = 0.5
    """a Gaussian policy's standard deviation to begin with; it is learned, and adapted."""
    discount: float = 0.99
    """γ."""
    gae_lambda: float = 1.0
    """λ of the advantages."""


ALGORITHMS = {
    "maml": Row(Maml, "MAML: an initialisation from which a few exact gradient steps solve a task."),
    "fomaml": Row(Fomaml, "FOMAML: MAML with the second derivative left out."),
    "reptile": Row(Reptile, "Reptile: an initialisation moved towards where plain training on each task ends."),
    "anil": Row(Anil, "ANIL: MAML whose inner loop adapts the last layer only."),
    "meta_sgd": Row(MetaSgd, "Meta-SGD: an initialisation and a step size for each of its numbers, learned together."),
    "maml_plus_plus": Row(
        MamlPlusPlus,
        "MAML++: MAML with a loss after every inner step, and step sizes learned for every layer and step.",
    ),
    "imaml": Row(
        Imaml, "Implicit MAML: solve each task near the initialisation, and differentiate the solution, not its path."
    ),
    "emaml": Row(Emaml, "EMAML: an ensemble of independent initialisations, each meta-trained by MAML."),
    "bmaml": Row(Bmaml, "BMAML: an ensemble from which a few steps of SVGD approximate a task's posterior."),
    "protonet": Row(
        Protonet,
        "Prototypical networks: classify by the nearest class mean in a learned feature space.",
        ("classification",),
    ),
    "pcoc": Row(
        Pcoc,
        "PCOC: Gaussian classes in a learned feature space, with an exact posterior over their means.",
        ("classification",),
    ),
    "metaqda": Row(
        Metaqda,
        "MetaQDA: Gaussian classes in a learned feature space, with a posterior over means and covariances.",
        ("classification",),
    ),
    "cnp": Row(
        Cnp,
        "Conditional neural process: a task is the mean of its embedded rows, and a decoder predicts from it.",
        over_vectors=True,
    ),
    "np": Row(
        Np,
        "Neural process: a latent variable for each task, inferred from the mean of its embedded rows.",
        over_vectors=True,
    ),
    "anp": Row(
        Anp,
        "Attentive neural process: a latent variable for each task, and attention from query places to support rows.",
        over_vectors=True,
    ),
    "convcnp": Row(
        Convcnp,
        "Convolutional conditional neural process: support rows become a function on a grid, and convolutions act there.",
        ("regression",),
    ),
    "tnp": Row(
        Tnp,
        "Transformer neural process: query rows attend to the support set's rows, layer by layer.",
        over_vectors=True,
    ),
    "alpaca": Row(
        Alpaca, "ALPaCA: exact Bayesian linear regression on learned features, for regression.", ("regression",)
    ),
    "mixed": Row(
        Mixed,
        "Linear mixed model: Bayesian regression on fixed features, whose prior is learned from all tasks.",
        ("regression",),
    ),
    "dkt": Row(Dkt, "Deep kernel transfer: an exact Gaussian process on features that all tasks share."),
    "pacoh_gp": Row(
        PacohGp,
        "PACOH-GP: particles that are Gaussian-process priors, moved by SVGD to the PAC-optimal hyper-posterior.",
        ("regression",),
    ),
    "empirical_gp": Row(
        EmpiricalGp,
        "Empirical GP: a Gaussian process whose mean and covariance on a grid are learned freely, for few inputs.",
        ("regression",),
    ),
    "versa": Row(
        Versa,
        "VERSA: the last layer's weights are drawn from what a network makes of the support set's mean features.",
        over_vectors=True,
    ),
    "maml_noise": Row(MamlNoise, "MAML with noise: the initialisation is moved at random before it is adapted."),
    "platipus": Row(
        Platipus, "PLATIPUS: MAML from an initialisation drawn from a learned prior that the support set conditions."
    ),
    "abml": Row(
        Abml, "ABML: a learned Gaussian prior that a few gradient steps turn into a task's variational posterior."
    ),
    "vampire": Row(Vampire, "VAMPIRE: a Gaussian prior, trained for how its variational posteriors predict."),
    "pacoh": Row(
        Pacoh, "PACOH: particles that are priors over networks, moved by SVGD to the PAC-optimal hyper-posterior."
    ),
    "llama": Row(
        Llama, "LLAMA: MAML whose meta-loss counts the curvature at the adapted parameters, by Laplace's approximation."
    ),
    "mr_maml_w": Row(
        MrMamlW,
        "MR-MAML on weights: a regularised, unadapted encoder that cannot memorise the tasks, and an adapted head.",
    ),
    "mr_maml_a": Row(
        MrMamlA,
        "MR-MAML on activations: a noisy code of the inputs that cannot hold the answer, and an adapted head.",
        over_vectors=True,
    ),
    "mr_cnp_w": Row(
        MrCnpW,
        "MR-CNP on weights: a conditional neural process behind an encoder whose weights' information is penalised.",
        over_vectors=True,
    ),
    "mr_cnp_a": Row(
        MrCnpA,
        "MR-CNP on activations: a conditional neural process behind noisy codes whose information is penalised.",
        over_vectors=True,
    ),
    "pretrain": Row(
        Pretrain, "Pretraining: one network on all tasks' data, then fine-tuned on a new task (a baseline)."
    ),
    "deep_ensemble": Row(
        DeepEnsemble,
        "Deep ensemble: independent members that differ in their random initialisation (by name: of pretrain).",
    ),
    "scratch": Row(
        Scratch,
        "From scratch: each task is trained on by itself from a random initialisation (the floor of every comparison).",
        trains=False,
    ),
    "ridge": Row(
        Ridge,
        "Ridge regression on the support set alone: Bayesian, averaged over penalty and noise by evidence (a baseline).",
        ("regression",),
        trains=False,
    ),
    "gp_support": Row(
        GpSupport,
        "Gaussian process on the support set alone, averaged over length scale and noise (a baseline).",
        ("regression",),
        trains=False,
    ),
    "exact": Row(
        Exact,
        "The Bayes-optimal prediction of tasks whose distribution is known (the ceiling of every comparison).",
        trains=False,
    ),
    "maml_rl": Row(
        MamlRl,
        "MAML for reinforcement learning: a policy that one policy-gradient step turns to a new task.",
        ("control",),
    ),
    "fomaml_rl": Row(
        FomamlRl, "First-order MAML for reinforcement learning: no derivative passes through adaptation.", ("control",)
    ),
    "promp": Row(
        Promp,
        "ProMP: clipped likelihood ratios let the outer loop take several steps on the same trajectories.",
        ("control",),
    ),
    "bmaml_rl": Row(
        BmamlRl,
        "Bayesian MAML for reinforcement learning: particles adapted by Stein variational policy gradients.",
        ("control",),
    ),
    "emaml_rl": Row(
        EmamlRl, "Ensemble MAML for reinforcement learning: particles that do not see each other.", ("control",)
    ),
    "pretrain_rl": Row(PretrainRl, "One policy for all tasks, which only meta-test adapts.", ("control",)),
    "random_policy": Row(
        RandomPolicy, "A randomly drawn policy that takes policy-gradient steps.", ("control",), trains=False
    ),
    "oracle_policy": Row(
        OraclePolicy, "A task-conditioned policy, trained by policy gradients; it does not adapt.", ("control",)
    ),
}


@dataclass(frozen=True, repr=False, eq=False)
class SinusoidData:
    """Regression on y = A sin(x - phi), without noise or with it; with it the best prediction is known."""

    num_shots: int | tuple[int, int] = 10
    """support points per task, a number or a range."""
    num_queries: int = 10
    """query points per task in meta-training."""
    num_test_queries: int = 100
    """query points per task in validation and meta-test, where more of them mean less noise."""
    noise: float = 0.0
    """standard deviation of the noise on support and query targets."""


@dataclass(frozen=True, repr=False, eq=False)
class SineOrLineData:
    """Regression on a sine or a line, with equal probability, with noise."""

    num_shots: int | tuple[int, int] = 5
    """support points per task, a number or a range."""
    num_queries: int = 10
    """query points per task in meta-training."""
    num_test_queries: int = 100
    """query points per task in validation and meta-test."""
    amplitude: tuple[float, float] = (0.1, 5.0)
    """the range of a sine's amplitude, uniform; the authors' generator has 1 to 5."""
    noise: float = 0.3
    """standard deviation of the noise on support and query targets; the authors' generator has none."""


@dataclass(frozen=True, repr=False, eq=False)
class FewTaskSinusoidData:
    """Regression on y = A sin(f x - phi), trained on a fixed set of tasks whose points never change."""

    num_train_tasks: int = 100
    """how many tasks there are to train on; the paper has 100 and 1000."""
    num_shots: int | tuple[int, int] = 5
    """support points per task, a number or a range; the paper has 5 and 10."""
    num_queries: int = 5
    """query points per task in meta-training; the paper has as many as shots."""
    num_test_queries: int = 100
    """query points per task in validation and meta-test."""
    task_seed: int = 0
    """which training tasks there are."""


@dataclass(frozen=True, repr=False, eq=False)
class TrendData:
    """Regression on a sine about a line, y = b x + A sin(1.5 (x - s)) + c, trained on a few fixed tasks."""

    num_train_tasks: int = 20
    """how many tasks there are to train on: 5, 10, 20, 100 show how much a learner overfits to them."""
    num_shots: int | tuple[int, int] = 5
    """support points per task, a number or a range; the paper has 5."""
    num_queries: int = 5
    """query points per task in meta-training."""
    num_test_queries: int = 100
    """query points per task in validation and meta-test."""
    noise: float = 0.1
    """standard deviation of the noise on support and query targets."""
    task_seed: int = 0
    """which training tasks there are."""


@dataclass(frozen=True, repr=False, eq=False)
class CauchyData:
    """Regression on Gaussian processes whose mean is a mixture of two Cauchy densities, trained on a few fixed tasks."""

    num_train_tasks: int = 20
    """how many tasks there are to train on: 5, 10, 20, 100 show how much a learner overfits to them."""
    num_shots: int | tuple[int, int] = 5
    """support points per task, a number or a range; the paper has 20 and 40."""
    num_queries: int = 5
    """query points per task in meta-training."""
    num_test_queries: int = 100
    """query points per task in validation and meta-test."""
    num_inputs: int = 2
    """numbers in one input; the paper has 2."""
    noise: float = 0.05
    """standard deviation of the noise on support and query targets."""
    task_seed: int = 0
    """which training tasks there are."""


@dataclass(frozen=True, repr=False, eq=False)
class NmeSinusoidData:
    """Regression on y = A sin u with an input that reveals A in training, and is misleading at meta-test."""

    num_shots: int | tuple[int, int] = 5
    """support points per task, a number or a range."""
    num_queries: int = 5
    """query points per task in meta-training."""
    num_test_queries: int = 100
    """query points per task in validation and meta-test."""
    num_amplitudes: int = 20
    """how many amplitudes there are, and numbers in a one-hot vector."""
    num_shown: int | None = None
    """how many of them, from the lowest, are trained on and hinted at in testing; None: all."""
    noise: float = 0.1
    """standard deviation of the noise on support and query targets."""
    test_draws: Literal["new", "notebook"] = "new"
    """test tasks are drawn as the validation's (new), or are the hundred fixed ones of the authors' notebook, whose first support input reveals the amplitude (notebook)."""


@dataclass(frozen=True, repr=False, eq=False)
class GpData:
    """Regression on draws of a Gaussian process, or on sawtooth waves: tasks whose best prediction is known."""

    kernel: Literal["rbf", "matern32", "matern52", "periodic", "weakly_periodic", "sawtooth", "mixture"] = "rbf"
    """the covariance function; "periodic" has random hyperparameters only, the last three fixed ones."""
    hyperparameters: Literal["fixed", "random"] = "fixed"
    """the same for all tasks, or drawn with each task; which decides the protocol's other numbers."""
    num_shots: int | tuple[int, int] | None = None
    """support points per task, a number or a range; by default the protocol's."""
    num_queries: int | tuple[int, int] | None = None
    """query points per task in meta-training, a number or a range; by default the protocol's."""
    num_test_queries: int | tuple[int, int] | None = None
    """the same in validation and meta-test; by default as in meta-training."""
    max_points: int | None = None
    """what support and query points of a task are at most together; by default the protocol's."""
    noise: float | None = None
    """standard deviation of the noise on support and query targets; by default the protocol's."""


@dataclass(frozen=True, repr=False, eq=False)
class CirclesData:
    """Tell the points of a circle (class 1) from those outside (class 0) after seeing points inside only."""

    num_shots: int | tuple[int, int] = 10
    """support points per task, a number or a range, all of them positive."""
    num_queries: int = 50
    """query points per task in meta-training."""
    num_test_queries: int = 100
    """query points per task in validation and meta-test."""
    radius: tuple[float, float] = (0.05, 1.0)
    """the range of a circle's radius, uniform."""
    support: Literal["radial", "area"] = "radial"
    """support points are "radial", uniform in their distance from the centre, or uniform in the circle's "area"."""
    queries: Literal["plane", "balanced"] = "plane"
    """query points are uniform in the "plane", or "balanced": with probability 1/2 uniform in the circle."""


@dataclass(frozen=True, repr=False, eq=False)
class OmniglotData:
    """Episodes over Omniglot, with ink 1 and paper 0."""

    path: str | None = None
    """a local copy (a parquet file, or a folder that holds it); by default the hub's GATE-engine/omniglot."""
    num_ways: int = 5
    """characters per task."""
    num_shots: int | tuple[int, int] = 1
    """support drawings per character, a number or a range."""
    num_queries: int = 15
    """query drawings per character; a character has 20 drawings in all."""
    split: Literal["finn", "vinyals", "background"] = "finn"
    """finn (1100 characters for training, 100 for validation and 423 for meta-test, from a seeded shuffle), vinyals (1028, 172 and 423, as published) or background (the two halves of the collection, by alphabet)."""
    split_seed: int = 0
    """seed of the shuffle of the splits finn and background."""
    rotations: Literal["none", "train", "all"] = "train"
    """whether rotations by 90, 180 and 270 degrees count as further characters: in no part, in training, or in all parts."""
    fixed_labels: bool = False
    """whether a character keeps one label in every task, so that the training tasks can be memorised (they are non-mutually-exclusive) and only a learner that adapts does well on new characters."""
    image_size: int = 28
    """side length in pixels."""
    revision: str | None = None
    """the hub commit, branch or tag."""


@dataclass(frozen=True, repr=False, eq=False)
class TinyOmniglotData:
    """One task per alphabet: which of its first characters is it, ink 1 and paper 0."""

    path: str | None = None
    """a local copy (a parquet file, or a folder that holds it); by default the hub's GATE-engine/omniglot."""
    num_ways: int = 5
    """characters of an alphabet."""
    num_shots: int | tuple[int, int] = 5
    """support drawings per character, a number or a range."""
    num_queries: int = 15
    """query drawings per character; a character has 20 drawings in all."""
    labels: Literal["fixed", "permuted"] = "fixed"
    """a character's label is "fixed", its number in its alphabet (PACOH), or the characters of a task are "permuted" in every episode, so that no label can be memorised (prior-data fitted networks)."""
    split: Literal["shuffled", "published"] = "shuffled"
    """alphabets for training are "shuffled" from both halves of the collection as PACOH's authors do, or those of the "published" background half, and the evaluation half for meta-test."""
    image_size: int = 28
    """side length in pixels."""
    revision: str | None = None
    """the hub commit, branch or tag."""


@dataclass(frozen=True, repr=False, eq=False)
class GlyphsData:
    """Episodes over characters of 28 x 28 pixels, with ink 1, drawn from the fonts that matplotlib ships."""

    num_ways: int = 5
    """characters per task."""
    num_shots: int | tuple[int, int] = 1
    """support drawings per character, a number or a range."""
    num_queries: int = 10
    """query drawings per character."""
    min_faces: int = 16
    """how many different drawings a character has at least: 16 leaves some 600 characters, 12 some 1,700."""
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2)
    """shares of the characters for training, validation and meta-test."""
    split_seed: int = 0
    """seed of the shuffle that fractions divides."""
    rotations: Literal["none", "train", "all"] = "none"
    """whether rotations by 90, 180 and 270 degrees count as further characters: in no part, in training, or in all parts."""
    fixed_labels: bool = False
    """whether a character keeps one label in every task."""


@dataclass(frozen=True, repr=False, eq=False)
class CompletionData:
    """Regression from the places of an image's pixels to their ink, for characters never seen before."""

    images: Literal["glyphs", "omniglot"] = "glyphs"
    """glyphs (characters from the fonts that matplotlib ships) or omniglot."""
    path: str | None = None
    """a local copy of Omniglot (a parquet file, or a folder that holds it); by default the hub's."""
    side: int = 28
    """the image's side length in pixels, 28 or less: drawings of 28 x 28 are shrunk."""
    num_shots: int | tuple[int, int] | None = None
    """pixels given of an image, a number or a range; by default 3 to a quarter of all and one, which is the literature's 3 to 197 of 28 x 28."""
    num_queries: int | tuple[int, int] | None = None
    """pixels asked for in meta-training, a number or a range; by default all the others."""
    split_seed: int = 0
    """seed of the shuffle that divides the characters."""
    revision: str | None = None
    """the hub commit, branch or tag of Omniglot."""


@dataclass(frozen=True, repr=False, eq=False)
class PoseData:
    """Tell how far a character is rotated, from images of 28 x 28 pixels with ink 1."""

    num_shots: int | tuple[int, int] = 15
    """support images per task, a number or a range."""
    num_queries: int = 15
    """query images per task in meta-training."""
    num_test_queries: int = 30
    """query images per task in validation and meta-test."""
    num_train_classes: int = 50
    """characters to train on; the paper has 50 objects."""
    num_test_classes: int = 100
    """characters for validation, and as many for meta-test; the paper has 15 objects."""
    class_seed: int = 0
    """which characters these are, and their zeros."""


@dataclass(frozen=True, repr=False, eq=False)
class FewShotData:
    """Episodes over a class-labelled data set, its classes split into training, validation and test."""

    path: str
    """a hub id, or a local parquet file or folder, save_to_disk folder, or folder of images (CLASS/IMAGE)."""
    num_ways: int = 5
    """classes per task."""
    num_shots: int | tuple[int, int] = 1
    """support rows per class, a number or a range: a task has one count for all its classes."""
    num_queries: int = 15
    """query rows per class."""
    image_column: str = "image"
    """the column of images, or of lists of numbers."""
    label_column: str = "label"
    """the column of classes."""
    train_split: str = "train"
    """the split, or the value of the split column, with the training classes."""
    validation_split: str = "validation"
    """the same for the validation classes; what is called val, valid or dev is it, too."""
    test_split: str = "test"
    """the same for the meta-test classes."""
    split_column: str | None = None
    """a column that names the split of a row."""
    fractions: tuple[float, float, float] | None = None
    """shares of the classes for training, validation and test, all splits taken together."""
    split_seed: int = 0
    """seed of the shuffle that fractions divides."""
    local_labels: bool = False
    """whether each split counts its classes from zero, so that equal labels are different classes."""
    rotations: Literal["none", "train", "all"] = "none"
    """whether rotations by 90, 180 and 270 degrees count as further classes: in no part, in training, or in all parts."""
    fixed_labels: bool = False
    """whether a class keeps one label in every task."""
    image_size: int | None = None
    """side length to which images are resized, or as which lists of numbers are read."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for colour; by default as the first image is."""
    invert: bool = False
    """whether to exchange black and white."""
    small_classes: Literal["refuse", "drop"] = "refuse"
    """what to do with classes of fewer than num_shots + num_queries rows."""
    subset: str | None = None
    """the subset (configuration) of a hub data set that has several."""
    revision: str | None = None
    """the hub commit, branch or tag."""
    memory_limit: float = 1.0
    """GB of decoded rows up to which each process has them in memory."""
    disk_limit: float | None = None
    """GB of decoded rows up to which they go into a file; by default what its disk has free."""


@dataclass(frozen=True, repr=False, eq=False)
class RegressionData:
    """Tasks from a long-format table: columns for the task, the inputs x and the targets y."""

    path: str
    """a parquet file or folder, or a CSV file with a header."""
    num_shots: int | tuple[int, int] = 10
    """support rows per task, a number or a range."""
    num_queries: int = 10
    """query rows per task in meta-training, at most."""
    num_test_queries: int = 100
    """query rows per task in validation and meta-test, at most."""
    task_column: str = "task"
    """the column that names the task of a row."""
    target_columns: tuple[str, ...] = ("y",)
    """the columns to predict."""
    input_columns: tuple[str, ...] = ()
    """the columns to predict from; none stands for all others."""
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2)
    """shares of the tasks for training, validation and meta-test; (1, 0, 0) is for a training on all tasks, which the two other parts then have as well."""
    split_seed: int = 0
    """seed of the shuffle that fractions divides."""
    standardise: Literal[True, False, "task"] = True
    """whether to bring every column to mean 0 and standard deviation 1 over the training tasks; with "task" a learner sees the targets of each task in units of its support rows as well."""
    small_tasks: Literal["refuse", "drop"] = "refuse"
    """what to do with tasks of fewer than num_shots + 1 rows, that of a range being its smaller number; info["dropped"] has the rows of those that were left out."""
    order_column: str | None = None
    """numbers or dates; the support set is then the task's earliest rows, and queries are drawn from the later ones."""
    split_column: str | None = None
    """whose cells say train, validation or test, the part of a row's task, instead of fractions."""
    fold: tuple[int, int] | None = None
    """(i, k): the shuffled tasks are divided into k parts, of which number i, from 0 on, is for meta-test, the next one for validation and all others for training, instead of fractions."""
    category_columns: tuple[str, ...] = ()
    """inputs that are categories though their cells look like numbers, or though there are many."""
    log_targets: bool = False
    """whether the targets are learned as their natural logarithms; all have to be positive."""


@dataclass(frozen=True, repr=False, eq=False)
class ClassificationData:
    """Tasks from a long-format table: columns for the task, the inputs and the class."""

    path: str
    """a parquet file or folder, or a CSV file with a header."""
    num_shots: int | tuple[int, int] = 10
    """support rows per task, of all classes together, a number or a range."""
    num_queries: int = 10
    """query rows per task in meta-training, at most."""
    num_test_queries: int = 100
    """query rows per task in validation and meta-test, at most."""
    task_column: str = "task"
    """the column that names the task of a row."""
    target_column: str = "label"
    """the column of classes."""
    input_columns: tuple[str, ...] = ()
    """the columns to predict from; none stands for all others."""
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2)
    """shares of the tasks for training, validation and meta-test; (1, 0, 0) is for a training on all tasks, which the two other parts then have as well."""
    split_seed: int = 0
    """seed of the shuffle that fractions divides."""
    standardise: Literal[True, False] = True
    """whether to bring every quantity to mean 0 and standard deviation 1 over the training tasks."""
    small_tasks: Literal["refuse", "drop"] = "refuse"
    """what to do with tasks of fewer than num_shots + 1 rows, that of a range being its smaller number."""
    order_column: str | None = None
    """numbers or dates; the support set is then the task's earliest rows, and queries are drawn from the later ones."""
    split_column: str | None = None
    """whose cells say train, validation or test, the part of a row's task, instead of fractions."""
    fold: tuple[int, int] | None = None
    """(i, k): the shuffled tasks are divided into k parts, of which number i, from 0 on, is for meta-test, the next one for validation and all others for training, instead of fractions."""
    category_columns: tuple[str, ...] = ()
    """inputs that are categories though their cells look like numbers, or though there are many."""
    classes: Literal["shared", "task"] = "shared"
    """whether a name stands for the same class in all tasks, or each task has its own, which are numbered in order, such as the species of a region."""


@dataclass(frozen=True, repr=False, eq=False)
class NavigationData:
    """Find a goal g in [-.5, .5]^2 from the origin, with steps of at most .1; the return is minus the distances."""

    horizon: int = 100
    """steps of an episode, which ends where both coordinates are within .01 of the goal."""
    sparse: bool = False
    """goals in the four corners that pay only from nearby, and starts near the origin."""


@dataclass(frozen=True, repr=False, eq=False)
class HalfCheetahData:
    """A cheetah that runs in a direction or at a velocity: r = pm v - .05 |a|^2, or -|v - v^*| - .05 |a|^2."""

    goal: Literal["velocity", "direction"] = "direction"
    """"direction", one of two with equal probability; "velocity", v^* sim U[0, 2] metres per second."""
    horizon: int = 100
    """steps of an episode, of .05 seconds each."""
    action_scale: float = 1.0
    """a policy's action is multiplied by it and clipped to [-1, 1]."""


@dataclass(frozen=True, repr=False, eq=False)
class AntData:
    """A four-legged ant that runs in a direction or at a velocity, and falls if its height leaves [.2, 1]."""

    goal: Literal["velocity", "direction"] = "direction"
    """"direction", one of two with equal probability; "velocity", v^* sim U[0, 3] metres per second."""
    horizon: int = 100
    """steps of an episode, of .05 seconds each."""
    action_scale: float = 1.0
    """a policy's action is multiplied by it and clipped to [-1, 1]."""


FAMILIES = {
    "sinusoid": Row(
        SinusoidData,
        "Regression on y = A sin(x - phi), without noise or with it; with it the best prediction is known.",
        ("regression",),
    ),
    "sine_or_line": Row(
        SineOrLineData, "Regression on a sine or a line, with equal probability, with noise.", ("regression",)
    ),
    "few_task_sinusoid": Row(
        FewTaskSinusoidData,
        "Regression on y = A sin(f x - phi), trained on a fixed set of tasks whose points never change.",
        ("regression",),
    ),
    "trend": Row(
        TrendData,
        "Regression on a sine about a line, y = b x + A sin(1.5 (x - s)) + c, trained on a few fixed tasks.",
        ("regression",),
    ),
    "cauchy": Row(
        CauchyData,
        "Regression on Gaussian processes whose mean is a mixture of two Cauchy densities, trained on a few fixed tasks.",
        ("regression",),
    ),
    "nme_sinusoid": Row(
        NmeSinusoidData,
        "Regression on y = A sin u with an input that reveals A in training, and is misleading at meta-test.",
        ("regression",),
    ),
    "gp": Row(
        GpData,
        "Regression on draws of a Gaussian process, or on sawtooth waves: tasks whose best prediction is known.",
        ("regression",),
    ),
    "circles": Row(
        CirclesData,
        "Tell the points of a circle (class 1) from those outside (class 0) after seeing points inside only.",
        ("classification",),
    ),
    "omniglot": Row(OmniglotData, "Episodes over Omniglot, with ink 1 and paper 0.", ("classification",), "conv4"),
    "tiny_omniglot": Row(
        TinyOmniglotData,
        "One task per alphabet: which of its first characters is it, ink 1 and paper 0.",
        ("classification",),
        "conv4",
    ),
    "glyphs": Row(
        GlyphsData,
        "Episodes over characters of 28 x 28 pixels, with ink 1, drawn from the fonts that matplotlib ships.",
        ("classification",),
        "conv4",
    ),
    "completion": Row(
        CompletionData,
        "Regression from the places of an image's pixels to their ink, for characters never seen before.",
        ("regression",),
    ),
    "pose": Row(
        PoseData, "Tell how far a character is rotated, from images of 28 x 28 pixels with ink 1.", ("regression",)
    ),
    "few_shot": Row(
        FewShotData,
        "Episodes over a class-labelled data set, its classes split into training, validation and test.",
        ("classification",),
        "conv4",
    ),
    "regression": Row(
        RegressionData,
        "Tasks from a long-format table: columns for the task, the inputs x and the targets y.",
        ("regression",),
    ),
    "classification": Row(
        ClassificationData,
        "Tasks from a long-format table: columns for the task, the inputs and the class.",
        ("classification",),
    ),
    "navigation": Row(
        NavigationData,
        "Find a goal g in [-.5, .5]^2 from the origin, with steps of at most .1; the return is minus the distances.",
        ("control",),
    ),
    "half_cheetah": Row(
        HalfCheetahData,
        "A cheetah that runs in a direction or at a velocity: r = pm v - .05 |a|^2, or -|v - v^*| - .05 |a|^2.",
        ("control",),
    ),
    "ant": Row(
        AntData,
        "A four-legged ant that runs in a direction or at a velocity, and falls if its height leaves [.2, 1].",
        ("control",),
    ),
}


@dataclass(frozen=True, repr=False, eq=False)
class MlpNetwork:
    """A multi-layer perceptron over flattened rows."""

    hidden: tuple[int, ...] = (40, 40)
    """the widths of the hidden layers."""
    activation: Literal["relu", "tanh", "silu", "gelu"] = "relu"
    """the nonlinearity phi."""
    normalisation: Literal["none", "transductive", "support"] = "none"
    """whose statistics a prediction normalises by."""
    initialisation: Literal["he", "truncated_normal", "xavier"] = "xavier"
    """xavier is Glorot's uniform and the default: on one-dimensional inputs it trains to half the error of he, which draws from N(0, 2/fan-in), made for rectified layers of many inputs; truncated_normal has standard deviation .01, cut at two of them, as in MAML's sinusoid experiment, at the cost of a plateau of thousands of steps."""
    context: int = 0
    """the length of a learned vector c, the leaf context, initially zero, that is joined to every input: adapting it shifts the first layer with more freedom than its bias."""


@dataclass(frozen=True, repr=False, eq=False)
class Conv4Network:
    """Four 3x3 convolutions, each normalised, rectified and halved, and a linear head."""

    filters: int = 64
    """channels of every convolution: 64 for Omniglot in the papers, 32 for MAML on miniImageNet."""
    pooling: Literal["max", "stride"] = "max"
    """max is a 2x2 max-pool and flattens what is left; stride convolves with stride 2 and takes the mean over positions at the end, which is MAML's Omniglot network."""
    normalisation: Literal["none", "transductive", "support"] = "transductive"
    """whose statistics a prediction normalises by."""
    initialisation: Literal["he", "truncated_normal", "xavier"] = "he"
    """as in mlp; he is the default, made for rectified layers of many inputs."""


@dataclass(frozen=True, repr=False, eq=False)
class Resnet12Network:
    """Four residual blocks of three 3x3 convolutions, each halved, the mean over positions, and a linear head."""

    width: int = 64
    """channels of the first block; the others have 2.5, 5 and 10 times as many: 64, 160, 320 and 640."""
    normalisation: Literal["none", "transductive", "support"] = "transductive"
    """whose statistics a prediction normalises by."""
    initialisation: Literal["he", "truncated_normal", "xavier"] = "he"
    """he is made for rectified layers of many inputs."""


MODELS = {
    "mlp": Row(MlpNetwork, "A multi-layer perceptron over flattened rows."),
    "conv4": Row(Conv4Network, "Four 3x3 convolutions, each normalised, rectified and halved, and a linear head."),
    "resnet12": Row(
        Resnet12Network,
        "Four residual blocks of three 3x3 convolutions, each halved, the mean over positions, and a linear head.",
    ),
}


OuterOptimiser: TypeAlias = Literal["adam", "sgd", "sign", "trpo"]


Schedule: TypeAlias = Literal["constant", "cosine", "linear"]


OUTER = {
    "adam": "Adam, each tensor's update in one pass",
    "sgd": "Gradient descent with a fixed step size",
    "sign": "Adam without memory: every number moves by the step size, in the direction of its gradient's sign",
    "trpo": "TRPO's update, whose size follows from a bound on the divergence and from no step size (control only)",
}


TRANSFORMS = ("laplace", "laplace_all", "tempered")
