"""What metrics are called, and which way is better."""

LABELS = {
    "mse": "MSE",
    "nll": "NLL (nats)",
    "crps": "CRPS",
    "ece": "ECE",
    "brier": "Brier",
    "calibration_error": "calibration error",
}
"""What a metric is called at the head of a column."""


MEASURES = {
    "mse": "Mean squared error",
    "accuracy": "Accuracy (%)",
    "nll": "Negative log-likelihood (nats a row)",
    "return": "Return of an episode",
}
"""What is drawn, in this order, and what its axis is called."""


HIGHER_IS_BETTER = ("accuracy", "return")
