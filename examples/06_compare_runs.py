"""Which of two is better? Test both on the same new tasks, and look at the difference paired by task.

The command line does the same with whole runs: `metafunc compare --algorithms maml fomaml --tasks sinusoid --seeds 3`.
"""

from metafunc import algorithms, evaluate, fit, likelihood, nn, tree
from metafunc.data import sinusoid
from metafunc.results import comparison, tables

family = sinusoid(num_shots=10, num_test_queries=50)
model, noise = nn.mlp((1,), 1), likelihood.gaussian()
learners = {
    "maml": algorithms.maml(model, noise, inner_lr=0.01),
    "fomaml": algorithms.fomaml(model, noise, inner_lr=0.01),
    "scratch": algorithms.scratch(model, noise, inner_lr=0.01),
}
entries = []
for name, learner in learners.items():
    trained = [fit(learner, family, steps=150, seed=seed) for seed in (0, 1)]
    tests = tuple(evaluate(learner, fitted.meta, family, num_tasks=100, num_steps=1) for fitted in trained)
    size = tree.size(trained[0].meta)
    entries.append(comparison.Entry(name, (0, 1), tests, steps=1, seconds=None, parameters=size))

report = comparison.compare("sinusoid", entries)
print(tables.to_markdown(report))
for row in report["rows"][1:]:
    gap = row["paired"]["mse"]
    print(f"{row['algorithm']} less maml: {gap['diff']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})")
