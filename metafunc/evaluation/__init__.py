"""What an adapted learner is worth: scores, meta-tests, predictions, active learning."""
