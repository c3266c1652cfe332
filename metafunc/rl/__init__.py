"""Reinforcement learning as pure functions: environments, policies, trajectories, and objectives to differentiate.

A task is $T = \\{L, q(x_1), q(x_{t+1} \\mid x_t, a_t), H\\}$; supervised learning is the case H = 1. Only
`Collect`, which a learner's `prepare` calls, draws random numbers.
"""

from metafunc.rl.adaptation import PolicyAdaptation as PolicyAdaptation
from metafunc.rl.advantages import AdvantageEstimator as AdvantageEstimator
from metafunc.rl.advantages import Advantages as Advantages
from metafunc.rl.advantages import discounted_sum as discounted_sum
from metafunc.rl.advantages import linear_values as linear_values
from metafunc.rl.environments import Environment as Environment
from metafunc.rl.environments import inverse_cdf as inverse_cdf
from metafunc.rl.environments import navigation as navigation
from metafunc.rl.environments import task_conditioned as task_conditioned
from metafunc.rl.estimators import ESTIMATORS as ESTIMATORS
from metafunc.rl.estimators import Estimator as Estimator
from metafunc.rl.estimators import box as box
from metafunc.rl.estimators import dice as dice
from metafunc.rl.estimators import loaded_dice as loaded_dice
from metafunc.rl.estimators import lvc as lvc
from metafunc.rl.estimators import ratio as ratio
from metafunc.rl.estimators import reward_to_go as reward_to_go
from metafunc.rl.estimators import total_return as total_return
from metafunc.rl.gym import Reward as Reward
from metafunc.rl.gym import gymnasium_simulator as gymnasium_simulator
from metafunc.rl.linear_quadratic import Linear as Linear
from metafunc.rl.linear_quadratic import linear_gaussian as linear_gaussian
from metafunc.rl.losses import check as check
from metafunc.rl.losses import log_probs as log_probs
from metafunc.rl.losses import others_mean as others_mean
from metafunc.rl.losses import policy_loss as policy_loss
from metafunc.rl.losses import sampled_return as sampled_return
from metafunc.rl.policies import Policy as Policy
from metafunc.rl.policies import categorical as categorical
from metafunc.rl.policies import gaussian as gaussian
from metafunc.rl.policies import kl as kl
from metafunc.rl.policies import table as table
from metafunc.rl.rollout import Collect as Collect
from metafunc.rl.rollout import Noise as Noise
from metafunc.rl.rollout import draw_noise as draw_noise
from metafunc.rl.rollout import rollout as rollout
from metafunc.rl.rollout import simulated as simulated
from metafunc.rl.rollout_settings import RolloutSettings as RolloutSettings
from metafunc.rl.simulator import Simulator as Simulator
from metafunc.rl.simulator import simulator_of as simulator_of
from metafunc.rl.tabular import Mdp as Mdp
from metafunc.rl.tabular import bandit as bandit
from metafunc.rl.tabular import tabular as tabular
from metafunc.rl.trajectories import Trajectories as Trajectories
from metafunc.rl.trajectories import mean_return as mean_return
from metafunc.rl.trpo import trust_region as trust_region
