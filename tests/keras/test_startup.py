import importlib.util
import sys

import pytest

from qatkit.errors import EnvironmentProblem
from qatkit.keras import startup


def test_all_is_installed_here() -> None:
    assert startup.has_tensorflow()
    startup.import_tensorflow()
    assert {"tensorflow", "tf_keras"} <= set(sys.modules)


@pytest.mark.parametrize(
    "module, name", [("tf_keras", "tf-keras"), ("tensorflow_model_optimization", "tensorflow-model-optimization")]
)
def test_a_part_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == module else find(asked))
    assert not startup.has_tensorflow()
    with pytest.raises(EnvironmentProblem, match=rf"here: {name}, which .* \(pip install 'qatkit\[train\]'\)$"):
        startup.import_tensorflow()
