from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from qatkit.dataset.batches import EvaluationBatches, LeftOut
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import load_image
from qatkit.dataset.pixel_cache import Cache
from qatkit.errors import DataError
from qatkit.keras.batches import Stream, data_errors, raw_batches
from qatkit.keras.preparation import Preparation
from qatkit.spec import AugmentationConfig
from tests.support.frames import augmentation_config, five_frames, frame_table, noise, write_image


def training_batches(frames: FrameTable, config: AugmentationConfig, *numbers: int, **more: Any) -> Stream:
    """What a training step learns from."""
    return raw_batches(frames, config, *numbers, **more).map(Preparation(config))


@pytest.fixture
def frames(tmp_path: Path) -> FrameTable:
    return five_frames(tmp_path)


@pytest.fixture
def augmented() -> AugmentationConfig:
    """All kinds of augmentation at once."""
    config = augmentation_config(32, 24)
    space = {"hflip_probability": 0.5, "zoom_min": 0.8, "zoom_max": 1.2, "translate_max_x": 4, "rotate_rad_max": 5}
    for name, value in space.items():
        setattr(config.spatial_augmentation, name, value)
    color = {
        "hue_rotation_max": 20,
        "saturation_shift_max": 0.2,
        "contrast_scale_max": 0.2,
        "color_shift_stddev": 0.1,
    }
    for name, value in color.items():
        setattr(config.color_augmentation, name, value)
    return config


def _elements(dataset: tf.data.Dataset, count: int = -1) -> list[dict[str, np.ndarray]]:
    return list(dataset.take(count).as_numpy_iterator())


def _assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], name)


def test_grey(frames: FrameTable, augmented: AugmentationConfig) -> None:
    augmented.preprocessing.output_image_channel = 1
    assert _elements(training_batches(frames, augmented, 5, seed=1), 1)[0]["image"].shape == (5, 24, 32, 1)


def test_each_epoch_has_every_frame_once(frames: FrameTable) -> None:
    batches = _elements(training_batches(frames, augmentation_config(32, 24), 3, seed=1), 20)
    assert all(batch["image"].shape == (3, 24, 32, 3) for batch in batches)
    order = np.concatenate([batch["index"] for batch in batches]).reshape(-1, 5)  # 12 epochs, across batches
    assert (np.sort(order) == np.arange(5)).all()
    assert len({tuple(epoch) for epoch in order.tolist()}) > 6


def test_uniform_sampling_takes_sources_in_turn(frames: FrameTable) -> None:
    dataset = training_batches(frames, augmentation_config(32, 24), 8, seed=1, sampling="uniform")
    order = np.concatenate([batch["index"] for batch in _elements(dataset, 2)])
    assert order[1::2].tolist() == [4] * 8
    assert (np.sort(order[::2].reshape(2, 4)) == np.arange(4)).all()


@pytest.mark.parametrize("step", [0, 1, 7, 100])
def test_an_element_depends_on_seed_and_step_alone(
    frames: FrameTable, augmented: AugmentationConfig, step: int
) -> None:
    whole = training_batches(frames, augmented, 3, seed=5, cache=Cache(2**20)).skip(step)
    resumed = training_batches(frames, augmented, 3, seed=5, first_step=step)
    for expected, found in zip(_elements(whole, 3), _elements(resumed, 3)):
        _assert_same(found, expected)


def test_any_seed_of_a_spec(frames: FrameTable, augmented: AugmentationConfig) -> None:
    batch = _elements(training_batches(frames, augmented, 5, seed=2**32 - 1, first_step=10**9), 1)[0]
    assert sorted(batch["index"]) == [0, 1, 2, 3, 4]


def test_another_seed_makes_another_stream(frames: FrameTable, augmented: AugmentationConfig) -> None:
    first, other = (_elements(training_batches(frames, augmented, 8, seed=seed), 1)[0] for seed in (1, 2))
    assert (first["index"] != other["index"]).any()
    assert not np.isclose(first["image"], other["image"]).all()


def test_a_frame_looks_different_each_time(frames: FrameTable, augmented: AugmentationConfig) -> None:
    batches = _elements(training_batches(frames, augmented, 5, seed=1), 2)
    first, second = (batch["image"][batch["index"].tolist().index(2)] for batch in batches)
    assert np.abs(first - second).mean() > 0.05
    assert first.min() >= 0 and first.max() <= 1


def test_a_flip_moves_pixels_and_boxes(frames: FrameTable) -> None:
    config = augmentation_config(32, 24)
    config.spatial_augmentation.hflip_probability = 1.0
    batch = _elements(training_batches(frames, config, 5, seed=1), 1)[0]
    row = batch["index"].tolist().index(0)
    assert batch["boxes"][row, 0].tolist() == [20, 4, 30, 20]
    expected = load_image(frames.image_paths[0], 32, 24, 3, False)[:, ::-1]
    np.testing.assert_allclose(batch["image"][row], expected, atol=1e-6)


def test_a_crop_with_augmentation_shows_what_is_beside_it(frames: FrameTable) -> None:
    config = augmentation_config(16, 16, crop_left=8, crop_top=4, crop_right=24, crop_bottom=20)
    config.spatial_augmentation.translate_max_x = 4
    for batch in _elements(training_batches(frames, config, 5, seed=1), 4):
        for image, index in zip(batch["image"], batch["index"]):
            with Image.open(frames.image_paths[index]) as source:
                row = np.asarray(source)[4, :, 0]
            shown = np.round(image[0, :, 0] * 255).astype(int)
            assert any((row[left : left + 16] == shown).all() for left in range(4, 13))  # no grey came in


def test_small_boxes_are_not_learned_but_evaluated(frames: FrameTable) -> None:
    config = augmentation_config(32, 24, min_bbox_width=9)
    batch = _elements(training_batches(frames, config, 5, seed=1), 1)[0]
    assert batch["class_ids"][batch["index"].tolist().index(2)].tolist() == [-1, 0]
    evaluated = next(iter(EvaluationBatches(frames, config.preprocessing, 5)))
    assert evaluated["class_ids"][2].tolist() == [1, 0]


def test_cached_and_decoded_images_are_the_same(frames: FrameTable, augmented: AugmentationConfig) -> None:
    one_image = 32 * 24 * 3
    streams = [
        _elements(training_batches(frames, augmented, 5, seed=1, cache=Cache(size)), 4)
        for size in (0, 2 * one_image, 100 * one_image)
    ]
    for batches in zip(*streams):
        _assert_same(batches[1], batches[0])
        _assert_same(batches[2], batches[0])


def test_cached_images_are_not_read_again(frames: FrameTable) -> None:
    dataset = training_batches(frames, augmentation_config(32, 24), 5, seed=1, cache=Cache(2**20))
    before = _elements(dataset, 1)
    for path in frames.image_paths:
        Path(path).unlink()
    _assert_same(_elements(dataset, 1)[0], before[0])


def test_a_damaged_image_is_named(frames: FrameTable) -> None:
    Path(frames.image_paths[3]).write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"3\.png: not an image that can be read$"), data_errors():
        _elements(training_batches(frames, augmentation_config(32, 24), 5, seed=1), 1)


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError), data_errors():
        tf.debugging.assert_equal(1, 2)


def test_images_of_different_sizes_in_one_batch(tmp_path: Path) -> None:
    sizes = [(40, 20), (20, 40)]
    paths = [write_image(tmp_path / f"{w}.png", noise(w, h)) for w, h in sizes]
    table = frame_table(paths, (0, 0), [[(0, (0.0, 0.0, 20.0, 20.0))]] * 2)
    table.sizes[:] = sizes
    config = augmentation_config(32, 32)
    config.spatial_augmentation.hflip_probability = 1.0
    batch = _elements(training_batches(table, config, 2, seed=1), 1)[0]
    assert sorted(batch["index"]) == [0, 1]
    assert batch["boxes"][:, 0].tolist() == [[12, 0, 32, 20]] * 2


LAYOUTS = [
    {"enable_auto_resize": True},
    {"enable_auto_resize": True, "output_image_channel": 1},
    {"crop_left": 7, "crop_top": 5, "crop_right": 47, "crop_bottom": 35},
    {"scale_width": 0.7, "scale_height": 1.3},
    {"scale_width": 1.37, "scale_height": 0.61, "output_image_channel": 1},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(layout))
@pytest.mark.parametrize("kind", ["png", "jpg", "grey.png", "grey.jpg", "16bit.png"])
def test_evaluation_sees_what_training_sees(tmp_path: Path, kind: str, layout: dict[str, Any]) -> None:
    """Without augmentation the pipeline of training gives the same pixels, boxes and classes, to the last bit."""
    rng = np.random.default_rng(3)
    paths = [tmp_path / f"{number}.{kind}" for number in range(6)]
    for number, path in enumerate(paths):
        pixels = noise(61, 43, 1 if "grey" in kind else 3, seed=number)
        if kind == "16bit.png":
            Image.fromarray(rng.integers(0, 2**16, (43, 61), np.uint16)).save(path)
        else:
            write_image(path, pixels)
    boxes = np.sort(rng.uniform(-20, 70, (6, 5, 2, 2)), axis=2).reshape(6, 5, 4).tolist()
    objects = [[(int(rng.integers(2)), tuple(box)) for box in some[:count]] for count, some in enumerate(boxes)]
    table = frame_table(paths, (61, 43), objects, weights=[1, 2, 1, 0.5, 1, 1])
    config = augmentation_config(40, 30, **layout)
    expected = _elements(training_batches(table, config, 6, seed=1), 1)[0]
    found = list(EvaluationBatches(table, config.preprocessing, 4))
    order = np.argsort(expected["index"])
    for name, values in expected.items():
        joined = np.concatenate([batch[name] for batch in found])
        assert joined.dtype == values.dtype
        assert joined.tobytes() == np.ascontiguousarray(values[order]).tobytes(), name
    assert {-1, 0, 1} == set(expected["class_ids"].ravel().tolist())


def test_the_next_frame_takes_the_place_of_one_that_cannot_be_read(frames: FrameTable) -> None:
    config = augmentation_config(32, 24)
    whole = _elements(training_batches(frames, config, 5, seed=1), 2)
    Path(frames.image_paths[1]).write_bytes(b"nothing")
    left_out = LeftOut(len(frames), 0.01)
    batches = _elements(training_batches(frames, config, 5, seed=1, left_out=left_out), 2)
    resumed = _elements(training_batches(frames, config, 5, seed=1, first_step=1, left_out=left_out), 1)
    for before, after in zip(whole, batches, strict=True):
        assert after["index"].tolist() == [2 if index == 1 else index for index in before["index"].tolist()]
        second = before["index"].tolist().index(2)
        for row in np.flatnonzero(after["index"] == 2):
            for key in ("image", "boxes", "class_ids", "weight"):
                np.testing.assert_array_equal(after[key][row], before[key][second])
    _assert_same(resumed[0], batches[1])
    assert left_out.paths == [frames.image_paths[1]]
