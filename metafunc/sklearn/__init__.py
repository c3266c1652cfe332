"""Meta-learners as estimators of scikit-learn: meta-train once, then `fit` adapts to one new task. Not on the face."""

try:
    import sklearn as _  # noqa: F401 - whether it is there
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ModuleNotFoundError(
        "metafunc.sklearn needs scikit-learn: pip install 'metafunc[sklearn]'", name="sklearn"
    ) from None

from metafunc.sklearn.classifier import MetaClassifier as MetaClassifier
from metafunc.sklearn.meta_train import meta_train as meta_train
from metafunc.sklearn.prior import Prior as Prior
from metafunc.sklearn.regressor import MetaRegressor as MetaRegressor
