"""The public table of algorithms: what the tests, the command line and the docs iterate over."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

from metafunc.algorithms.baselines.exact import exact
from metafunc.algorithms.baselines.gp_support import gp_support
from metafunc.algorithms.baselines.oracle_policy import oracle_policy
from metafunc.algorithms.baselines.pretrain import pretrain
from metafunc.algorithms.baselines.pretrain_rl import pretrain_rl
from metafunc.algorithms.baselines.random_policy import random_policy
from metafunc.algorithms.baselines.ridge import ridge
from metafunc.algorithms.baselines.scratch import scratch
from metafunc.algorithms.bayesian.abml import abml
from metafunc.algorithms.bayesian.bmaml import bmaml
from metafunc.algorithms.bayesian.deep_ensemble import deep_ensemble
from metafunc.algorithms.bayesian.emaml import emaml
from metafunc.algorithms.bayesian.llama import llama
from metafunc.algorithms.bayesian.maml_noise import maml_noise
from metafunc.algorithms.bayesian.mr_maml_a import mr_maml_a
from metafunc.algorithms.bayesian.mr_maml_w import mr_maml_w
from metafunc.algorithms.bayesian.pacoh import pacoh
from metafunc.algorithms.bayesian.platipus import platipus
from metafunc.algorithms.bayesian.vampire import vampire
from metafunc.algorithms.conditioning.alpaca import alpaca
from metafunc.algorithms.conditioning.anp import anp
from metafunc.algorithms.conditioning.cnp import cnp
from metafunc.algorithms.conditioning.convcnp import convcnp
from metafunc.algorithms.conditioning.dkt import dkt
from metafunc.algorithms.conditioning.empirical_gp import empirical_gp
from metafunc.algorithms.conditioning.metaqda import metaqda
from metafunc.algorithms.conditioning.mixed import mixed
from metafunc.algorithms.conditioning.mr_cnp import mr_cnp_a, mr_cnp_w
from metafunc.algorithms.conditioning.np import np
from metafunc.algorithms.conditioning.pacoh_gp import pacoh_gp
from metafunc.algorithms.conditioning.pcoc import pcoc
from metafunc.algorithms.conditioning.protonet import protonet
from metafunc.algorithms.conditioning.tnp import tnp
from metafunc.algorithms.conditioning.versa import versa
from metafunc.algorithms.gradient_based.anil import anil
from metafunc.algorithms.gradient_based.fomaml import fomaml
from metafunc.algorithms.gradient_based.imaml import imaml
from metafunc.algorithms.gradient_based.maml import maml
from metafunc.algorithms.gradient_based.maml_plus_plus import maml_plus_plus
from metafunc.algorithms.gradient_based.meta_sgd import meta_sgd
from metafunc.algorithms.gradient_based.reptile import reptile
from metafunc.algorithms.networks import (
    Networks,
    attentive_networks,
    bottleneck_aggregator_decoder,
    bottleneck_head,
    embedding,
    encoder_aggregator_decoder,
    encoder_decoder,
    features,
    features_amortiser,
    fixed_features,
    grid_decoder,
    inducing_inputs,
    latent_networks,
    mean_features,
    no_network,
    predictor,
    task_conditioned,
    tokens_head,
)
from metafunc.algorithms.policies.bmaml_rl import bmaml_rl
from metafunc.algorithms.policies.emaml_rl import emaml_rl
from metafunc.algorithms.policies.fomaml_rl import fomaml_rl
from metafunc.algorithms.policies.maml_rl import maml_rl
from metafunc.algorithms.policies.promp import promp
from metafunc.bayes.gaussian_process import JITTER
from metafunc.nn import likelihood as likelihoods
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import Printed
from metafunc.types import Kind, MetaLearner

Learner: TypeAlias = MetaLearner[Any, Any]
NOISE_FLOOR = 0.01
"""The smallest noise scale that a network may put out where it is asked for one by a learner's setting."""


def _with_noise_scale(kind: Kind, num_outputs: int) -> Likelihood:
    # The builders that take it have a floor of their own.
    return (
        likelihoods.heteroscedastic(num_outputs, floor=0.0)
        if kind == "regression"
        else likelihoods.for_kind(kind, num_outputs)
    )


def _with_noise(kind: Kind, num_outputs: int, *, noise: str) -> Likelihood:
    if kind == "regression" and noise == "input":
        return likelihoods.heteroscedastic(num_outputs, floor=NOISE_FLOOR)
    return likelihoods.for_kind(kind, num_outputs)


@dataclass(frozen=True, repr=False)
class Algorithm(Printed):
    """What there is to know of an algorithm from outside.

    Args:
        builder: (networks..., likelihood, *, hyperparameters) to a learner.
        kinds: the kinds of tasks it takes.
        networks: which networks the builder takes; its own keyword-only arguments are hyperparameters.
        likelihood: which observation model it is trained with, by kind and number of outputs, and as keyword arguments
            those of the builder's hyperparameters that decide it.
        exact: whether its meta-gradient is the derivative of its task loss, and there is one.
        inner_steps: whether it adapts in steps, so that none is the identity; otherwise its paths have two rows.
        trains: whether meta-training changes anything.
        coherent: for which kinds its predictions are those of one exchangeable model, conditioned on the support set.
        jitter: what it adds to variances for the sake of rounding, relative to the prior's: it is coherent up to that.
        knows_tasks: whether the builder takes a task family's `optima` in the place of networks and likelihood.
        fixed: hyperparameters that keep their defaults.
        member: the row whose learner the builder takes in the place of networks and likelihood; see `over`.
    """

    builder: Callable[..., Learner]
    kinds: tuple[Kind, ...] = ("regression", "classification")
    networks: Networks = predictor
    likelihood: Callable[..., Likelihood] = likelihoods.for_kind
    exact: bool = True
    inner_steps: bool = True
    trains: bool = True
    coherent: tuple[Kind, ...] = ()
    jitter: float = 0.0
    knows_tasks: bool = False
    fixed: tuple[str, ...] = ()
    member: "Algorithm | None" = None

    @property
    def summary(self) -> str:
        """One line: the first of the builder's documentation."""
        return inspect.getdoc(self.builder).splitlines()[0]  # type: ignore[union-attr]  # A test holds that all have one.

    @property
    def sources(self) -> tuple[Callable[..., Any], ...]:
        """Whose keyword-only arguments are hyperparameters: the builder, its groups of settings, its member."""
        groups = [type(default) for default in settings_groups(self.builder).values()]
        return (self.builder, *groups, *(self.member.sources if self.member else ()))

    @property
    def hyperparameters(self) -> Mapping[str, inspect.Parameter]:
        """What can be set, by name."""
        every = keywords(self.builder) | dict(self.member.hyperparameters if self.member else {})
        return {name: argument for name, argument in every.items() if name not in self.fixed}

    def assemble(self, *arguments: Any, **hyperparameters: Any) -> Learner:
        """The learner from its networks and likelihood."""
        if self.member is None:
            return call(self.builder, *arguments, **hyperparameters)
        own = keywords(self.builder)
        members = {name: value for name, value in hyperparameters.items() if name not in own}
        others = {name: value for name, value in hyperparameters.items() if name in own}
        return call(self.builder, self.member.assemble(*arguments, **members), **others)


def settings_groups(builder: Callable[..., Any]) -> dict[str, Any]:
    """The defaults of those keyword-only arguments of a builder that are groups of settings: dataclasses."""
    arguments = inspect.signature(builder).parameters.values()
    return {argument.name: argument.default for argument in arguments if is_dataclass(argument.default)}


def keywords(builder: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """A builder's keyword-only arguments, by name; the fields of a group of settings in the place of the group."""
    groups = settings_groups(builder)
    found: dict[str, inspect.Parameter] = {}
    for name, argument in inspect.signature(builder).parameters.items():
        if name in groups:
            fields = keywords(type(groups[name]))
            found |= {field: each.replace(default=getattr(groups[name], field)) for field, each in fields.items()}
        elif argument.kind is argument.KEYWORD_ONLY:
            found[name] = argument
    return found


def call(builder: Callable[..., Learner], *arguments: Any, **hyperparameters: Any) -> Learner:
    """The builder's learner; the fields of its groups of settings are given as hyperparameters of their own."""
    given = dict(hyperparameters)
    for name, default in settings_groups(builder).items():
        chosen = {field: given.pop(field) for field in keywords(type(default)) if field in given}
        given[name] = replace(default, **chosen)
    return builder(*arguments, **given)


def over(builder: Callable[..., Learner], member: Algorithm) -> Algorithm:
    """The row of a builder that takes a learner: what is known of that learner holds of it as well."""
    return replace(member, builder=builder, member=member)


def _on_support(builder: Callable[..., Learner]) -> Algorithm:
    return Algorithm(builder, kinds=("regression",), networks=no_network, exact=False, inner_steps=False, trains=False)


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "maml": Algorithm(maml),
        "fomaml": Algorithm(fomaml, exact=False),
        "reptile": Algorithm(reptile, exact=False),
        "anil": Algorithm(anil),
        "meta_sgd": Algorithm(meta_sgd),
        "maml_plus_plus": Algorithm(maml_plus_plus),
        "imaml": Algorithm(imaml, exact=False),
        "emaml": over(emaml, Algorithm(maml, fixed=("rematerialise",))),
        "bmaml": Algorithm(bmaml, exact=False),
        "protonet": Algorithm(protonet, kinds=("classification",), networks=embedding, inner_steps=False),
        "pcoc": Algorithm(pcoc, kinds=("classification",), networks=features, inner_steps=False),
        "metaqda": Algorithm(metaqda, kinds=("classification",), networks=features, inner_steps=False),
        "cnp": Algorithm(cnp, networks=encoder_decoder, likelihood=_with_noise_scale, inner_steps=False),
        "np": Algorithm(np, networks=latent_networks, likelihood=_with_noise_scale, inner_steps=False),
        "anp": Algorithm(anp, networks=attentive_networks, likelihood=_with_noise_scale, inner_steps=False),
        "convcnp": Algorithm(
            convcnp, kinds=("regression",), networks=grid_decoder, likelihood=_with_noise_scale, inner_steps=False
        ),
        "tnp": Algorithm(tnp, networks=tokens_head, likelihood=_with_noise_scale, inner_steps=False),
        "alpaca": Algorithm(
            alpaca, kinds=("regression",), networks=features, inner_steps=False, coherent=("regression",)
        ),
        "mixed": Algorithm(
            mixed, kinds=("regression",), networks=fixed_features, inner_steps=False, coherent=("regression",)
        ),
        "dkt": Algorithm(dkt, networks=features, inner_steps=False, coherent=("regression",), jitter=JITTER),
        "pacoh_gp": Algorithm(pacoh_gp, kinds=("regression",), networks=mean_features, exact=False, inner_steps=False),
        "empirical_gp": Algorithm(
            empirical_gp,
            kinds=("regression",),
            networks=inducing_inputs,
            inner_steps=False,
            coherent=("regression",),
            jitter=JITTER,
        ),
        "versa": Algorithm(versa, networks=features_amortiser, inner_steps=False),
        "maml_noise": Algorithm(maml_noise),
        "platipus": Algorithm(platipus, likelihood=_with_noise),
        "abml": Algorithm(abml, likelihood=_with_noise),
        "vampire": Algorithm(vampire, likelihood=_with_noise),
        "pacoh": Algorithm(pacoh, exact=False),
        "llama": Algorithm(llama),
        "mr_maml_w": Algorithm(mr_maml_w),
        "mr_maml_a": Algorithm(mr_maml_a, networks=bottleneck_head),
        "mr_cnp_w": Algorithm(
            mr_cnp_w, networks=encoder_aggregator_decoder, likelihood=_with_noise_scale, inner_steps=False
        ),
        "mr_cnp_a": Algorithm(
            mr_cnp_a, networks=bottleneck_aggregator_decoder, likelihood=_with_noise_scale, inner_steps=False
        ),
        "pretrain": Algorithm(pretrain),
        "deep_ensemble": over(deep_ensemble, Algorithm(pretrain)),
        "scratch": Algorithm(scratch, exact=False, trains=False),
        "ridge": _on_support(ridge),
        "gp_support": _on_support(gp_support),
        # It claims no coherence: most optima are quadratures whose nodes are chosen for every support set, of equal
        # mass, and so coherent up to their number (4e-3 nats on sine_or_line) rather than to rounding. Those in closed
        # form, of gp and cauchy, are coherent up to jitter, which is tested where they are.
        "exact": Algorithm(exact, networks=no_network, exact=False, inner_steps=False, trains=False, knows_tasks=True),
        "maml_rl": Algorithm(maml_rl, kinds=("control",)),
        "fomaml_rl": Algorithm(fomaml_rl, kinds=("control",)),
        "promp": Algorithm(promp, kinds=("control",)),
        "bmaml_rl": Algorithm(bmaml_rl, kinds=("control",)),
        "emaml_rl": Algorithm(emaml_rl, kinds=("control",)),
        "pretrain_rl": Algorithm(pretrain_rl, kinds=("control",)),
        "random_policy": Algorithm(random_policy, kinds=("control",), trains=False, fixed=("num_trajectories",)),
        "oracle_policy": Algorithm(
            oracle_policy,
            kinds=("control",),
            networks=task_conditioned,
            inner_steps=False,
            fixed=("inner_lr", "num_steps", "later_lr"),
        ),
    }
)
"""By the names of the command line."""
SUPERVISED: Mapping[str, Algorithm] = MappingProxyType(
    {name: row for name, row in ALGORITHMS.items() if "control" not in row.kinds}
)
"""Those that learn from given examples."""
CONTROL: Mapping[str, Algorithm] = MappingProxyType(
    {name: row for name, row in ALGORITHMS.items() if "control" in row.kinds}
)
"""Learners of policies: their builders take a simulator where the others take a likelihood."""
