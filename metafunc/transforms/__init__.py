"""From losses to adaptations and meta-losses: the inner loop, objectives, implicit gradients, curvature."""
