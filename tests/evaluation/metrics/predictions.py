"""Random predictions in double precision, and targets for them."""

import torch

from metafunc.types import Categorical, Normal


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classes(seed=0, particles=3, n=40, num_classes=4, sharpness=2.0):
    logits = sharpness * noise(particles, n, num_classes, seed=seed)
    y = torch.randint(num_classes, (n,), generator=torch.Generator().manual_seed(seed))
    return Categorical(logits), y


def normals(seed=0, particles=3, n=6, outputs=2):
    scale = (0.5 * noise(particles, n, outputs, seed=seed + 1)).exp()
    return Normal(noise(particles, n, outputs, seed=seed), scale), noise(n, outputs, seed=seed + 2)
