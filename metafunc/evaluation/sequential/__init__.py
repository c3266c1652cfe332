"""Sequential decisions: adapt, choose the next row of a pool by an acquisition function, observe its target, repeat."""
