"""Many trainings: cells, each a command of its own process, by several processes of this machine or a cluster's."""
