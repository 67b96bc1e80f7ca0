from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from qatkit.errors import SpecError
from qatkit.spec import Experiment, load_experiment, to_json, to_text
from qatkit.spec.parse import parse
from tests.support.spec_strategies import ROOTS, any_message, any_text


def training(fields: str) -> Any:
    return parse(f"training_config {{ {fields} }}", Experiment, "spec").training_config


@pytest.mark.parametrize(
    "fields, expected",
    [
        ("num_epochs: 3", 3),
        ("num_epochs: 3 num_epochs: 4", 4),  # the last value counts
        ("num_epochs: 0x10", 16),
        ("num_epochs: 3; batch_size_per_gpu: 1,", 3),
        ("# a comment\nnum_epochs: 3 # another\n", 3),
        ("num_epochs: 3\r\nbatch_size_per_gpu: 1\r\n", 3),
    ],
)
def test_scalars(fields: str, expected: int) -> None:
    assert training(fields).num_epochs == expected


@pytest.mark.parametrize(
    "word, expected", [("True", True), ("true", True), ("t", True), ("1", True), ("False", False)]
)
def test_booleans(word: str, expected: bool) -> None:
    assert training(f"enable_qat: {word}").enable_qat is expected


@pytest.mark.parametrize("number, expected", [("5e-6", 5e-6), (".5", 0.5), ("1", 1.0), ("1.0f", 1.0)])
def test_floats(number: str, expected: float) -> None:
    schedule = training(f"learning_rate {{ soft_start_annealing_schedule {{ soft_start: {number} }} }}").learning_rate
    assert schedule.soft_start_annealing_schedule.soft_start == pytest.approx(expected)


@pytest.mark.parametrize("value", ["L2", "2"])
def test_enum_by_name_or_number(value: str) -> None:
    assert training(f"regularizer: {{ type: {value} }}").regularizer.type == 2


def test_pieces_of_a_message_are_merged() -> None:
    text = "training_config { num_epochs: 3 } training_config { batch_size_per_gpu: 4 }"
    config = parse(text, Experiment, "spec").training_config
    assert (config.num_epochs, config.batch_size_per_gpu) == (3, 4)


def test_of_a_oneof_the_last_member_counts() -> None:
    config = parse("dataset_config { validation_fold: 0 validation_data_source { } }", Experiment, "spec")
    assert config.dataset_config.WhichOneof("dataset_split_type") == "validation_data_source"


def test_of_a_map_key_the_last_value_counts() -> None:
    entries = "".join(f'target_class_mapping {{ key: "van" value: "{value}" }}' for value in ("van", "car"))
    config = parse(f"dataset_config {{ {entries} }}", Experiment, "spec")
    assert dict(config.dataset_config.target_class_mapping) == {"van": "car"}


@pytest.mark.parametrize("text", ["freeze_blocks: 0 freeze_blocks: 1.0", "freeze_blocks: [0, 1]"])
def test_repeated_scalars(text: str) -> None:
    assert list(parse(f"model_config {{ {text} }}", Experiment, "spec").model_config.freeze_blocks) == [0, 1]


def test_adjacent_strings_and_both_quotes() -> None:
    text = """dataset_config { image_extension: "j" 'pg' }"""
    assert parse(text, Experiment, "spec").dataset_config.image_extension == "jpg"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "spec: empty (a training spec is expected)"),
        ("# only a comment\n", "spec: empty (a training spec is expected)"),
        (
            "model_config {\n  num_layer: 18\n}",
            'spec:2:3: unknown field "num_layer" in ModelConfig: "num_layer: 18" (did you mean "num_layers"?)',
        ),
        (
            "model_config {\n  objective_set { bbox { scael: 35 } }",
            'spec:2:26: unknown field "scael" in ModelConfig.BboxObjective: "objective_set { bbox { scael: 35 } }" '
            '(did you mean "scale"?)',
        ),
        (
            'dataset_config { target_class_mapping { key: "car" vlue: "car" } }',
            'spec:1:52: unknown field "vlue" in target_class_mapping: '
            '"dataset_config { target_class_mapping { key: "car" vlue: "car" } }" (did you mean "value"?)',
        ),
        (
            "num_epochs: 3",
            'spec:1:1: unknown field "num_epochs" in Experiment: "num_epochs: 3" (it belongs in TrainingConfig)',
        ),
        (
            "kitti_config { }",
            'spec:1:1: unknown field "kitti_config" in Experiment: "kitti_config { }" '
            "(it belongs in a dataset_convert spec; this file is read as a training spec)",
        ),
        ("zzzz: 1", 'spec:1:1: unknown field "zzzz" in Experiment: "zzzz: 1"'),
        (
            "training_config {\n\tnum_epochs: 1.5\n}",
            'spec:2:14: expected a whole number, found 1.5: "num_epochs: 1.5"',
        ),
        ("random_seed: -1", 'spec:1:14: value out of range: -1: "random_seed: -1"'),
        (
            "training_config { regularizer { weight: abc } }",
            'spec:1:41: expected a number, found abc: "training_config { regularizer { weight: abc } }"',
        ),
        (
            "dataset_config { image_extension: png }",
            'spec:1:35: expected a string in quotes, found png: "dataset_config { image_extension: png }"',
        ),
        (
            "training_config { enable_qat: yes }",
            'spec:1:31: expected true or false: "training_config { enable_qat: yes }"',
        ),
        (
            "training_config { regularizer { type: L3 } }",
            'spec:1:39: unknown value "L3" of RegularizationType: "training_config { regularizer { type: L3 } }" '
            "(one of NO_REG, L1, L2)",
        ),
        ("training_config {", 'spec:1:17: expected "}": "training_config {" (a brace is not closed)'),
        ("random_seed: 1\n}", 'spec:2:1: expected the name of a field, found }: "}"'),
        ("random_seed 5", 'spec:1:13: expected ":": "random_seed 5"'),
        ("[a.b]: 1", 'spec:1:4: expected the name of a field, found [: "[a.b]: 1"'),
        ("random_seed: 1\0", 'spec:1:15: expected the name of a field, found \ufffd: "random_seed: 1\ufffd"'),
        (
            "random_seed: " + "9" * 200,
            f'spec:1:14: value out of range: {"9" * 140}...: "random_seed: {"9" * 147}..."',
        ),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, Experiment, "spec")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "empty"),
        (b"random_seed: 1\n\xff\xfe", ":2: not UTF-8 text (a spec file is plain text)"),
        (b"#" * (4 << 20) + b"\n", "more than 4 MiB, not a spec file"),
    ],
)
def test_files_that_are_no_specs(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "spec.txt"
    path.write_bytes(data)
    with pytest.raises(SpecError) as caught:
        load_experiment(path)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"missing\.txt: no such file"):
        load_experiment(tmp_path / "missing.txt")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="a folder, not a spec file"):
        load_experiment(tmp_path)


def test_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match="cannot read: Not a directory"):
        load_experiment(tmp_path / "file" / "spec.txt")


@given(any_message())
@settings(max_examples=100, deadline=None)
def test_a_printed_message_is_read_back(message: Message) -> None:
    if message.ListFields():
        assert parse(to_text(message), type(message), "spec") == message


@given(any_text, st.sampled_from(ROOTS))
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_or_refused_in_one_line(text: str, root: type[Message]) -> None:
    try:
        parse(text, root, "spec")
    except SpecError as error:
        assert str(error).startswith("spec") and str(error).isprintable()


def test_json_of_nothing() -> None:
    assert to_json(Experiment()) == {"random_seed": 0, "dataset_export_config": []}


def test_json_has_the_names_of_the_file_and_all_values() -> None:
    values = to_json(parse("training_config { num_epochs: 3 optimizer { adam { beta1: 0.9 } } }", Experiment, "spec"))
    training_values = values["training_config"]
    assert (training_values["num_epochs"], training_values["enable_qat"]) == (3, False)
    assert training_values["optimizer"]["adam"]["beta1"] == 0.9  # not 0.8999999761581421
    assert "learning_rate" not in training_values and "model_config" not in values


@given(any_message())
@settings(max_examples=50, deadline=None)
def test_any_message_has_json(message: Message) -> None:
    assert json.loads(json.dumps(to_json(message))) == to_json(message)
