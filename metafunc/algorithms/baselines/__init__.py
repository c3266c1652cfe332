"""What a meta-learner is to be compared with."""
