"""Reinforcement learning as pure functions: environments, policies, trajectories, and objectives to differentiate.

A task is $T = \\{L, q(x_1), q(x_{t+1} \\mid x_t, a_t), H\\}$; supervised learning is the case H = 1. Only
`Play`, which a learner's `prepare` calls, throws dice.
"""

from metafunc.rl.environments import Environment as Environment
from metafunc.rl.environments import informed as informed
from metafunc.rl.environments import inverse_cdf as inverse_cdf
from metafunc.rl.environments import navigation as navigation
from metafunc.rl.estimators import ESTIMATORS as ESTIMATORS
from metafunc.rl.estimators import Estimator as Estimator
from metafunc.rl.estimators import box as box
from metafunc.rl.estimators import dice as dice
from metafunc.rl.estimators import loaded_dice as loaded_dice
from metafunc.rl.estimators import lvc as lvc
from metafunc.rl.estimators import ratio as ratio
from metafunc.rl.estimators import reward_to_go as reward_to_go
from metafunc.rl.estimators import total_return as total_return
from metafunc.rl.finite import Mdp as Mdp
from metafunc.rl.finite import bandit as bandit
from metafunc.rl.finite import tabular as tabular
from metafunc.rl.gym import Reward as Reward
from metafunc.rl.gym import gymnasium_world as gymnasium_world
from metafunc.rl.learning import Player as Player
from metafunc.rl.linear import Linear as Linear
from metafunc.rl.linear import linear_gaussian as linear_gaussian
from metafunc.rl.objective import check as check
from metafunc.rl.objective import log_probs as log_probs
from metafunc.rl.objective import others_mean as others_mean
from metafunc.rl.objective import policy_loss as policy_loss
from metafunc.rl.objective import sampled_return as sampled_return
from metafunc.rl.playing import Noise as Noise
from metafunc.rl.playing import Play as Play
from metafunc.rl.playing import draw_noise as draw_noise
from metafunc.rl.playing import rollout as rollout
from metafunc.rl.playing import simulated as simulated
from metafunc.rl.policies import Policy as Policy
from metafunc.rl.policies import categorical as categorical
from metafunc.rl.policies import gaussian as gaussian
from metafunc.rl.policies import kl as kl
from metafunc.rl.policies import table as table
from metafunc.rl.signals import RAW as RAW
from metafunc.rl.signals import Credit as Credit
from metafunc.rl.signals import Signal as Signal
from metafunc.rl.signals import discounted_sum as discounted_sum
from metafunc.rl.signals import linear_values as linear_values
from metafunc.rl.trajectories import Trajectories as Trajectories
from metafunc.rl.trajectories import mean_return as mean_return
from metafunc.rl.trpo import trust_region as trust_region
from metafunc.rl.worlds import World as World
from metafunc.rl.worlds import world as world
