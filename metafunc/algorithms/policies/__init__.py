"""Meta-reinforcement learning: policies that adapt to trajectories."""
