import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qatkit.dataset.batches import Batch, EvaluationBatches, LeftOut, clip_boxes
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import load_image, map_ahead
from qatkit.dataset.pixel_cache import Cache
from qatkit.errors import DataError
from qatkit.spec import AugmentationConfig
from tests.support.frames import augmentation_config, five_frames


@pytest.fixture
def frames(tmp_path: Path) -> FrameTable:
    return five_frames(tmp_path)


def batches_of(frames: FrameTable, config: AugmentationConfig, size: int) -> list[Batch]:
    batches = EvaluationBatches(frames, config.preprocessing, size)
    found = list(batches)
    assert len(batches) == len(found)
    return found


def test_evaluation_is_one_exact_pass(frames: FrameTable) -> None:
    batches = batches_of(frames, augmentation_config(32, 24), 2)
    assert [batch["index"].tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert [batch["weight"].tolist() for batch in batches] == [[1, 1], [1, 1], [3]]
    assert batches[2]["image"].shape == (1, 24, 32, 3)
    images = np.concatenate([batch["image"] for batch in batches])
    np.testing.assert_array_equal(images, [load_image(path, 32, 24, 3, False) for path in frames.image_paths])


def test_evaluation_boxes_are_padded(frames: FrameTable) -> None:
    first, second, last = batches_of(frames, augmentation_config(32, 24), 2)
    assert first["boxes"].tolist() == [[[2, 4, 12, 20], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 2]
    assert first["class_ids"].tolist() == [[0, -1], [-1, -1]]
    assert second["boxes"][0].tolist() == [[0, 0, 8, 8], [20, 10, 30, 22]]
    assert second["class_ids"].tolist() == [[1, 0], [-1, -1]]
    assert last["boxes"].shape == (1, 2, 4)
    assert (last["class_ids"].dtype, last["index"].dtype) == (np.int32, np.int64)


def test_auto_resize_scales_the_boxes(frames: FrameTable) -> None:
    config = augmentation_config(64, 12, enable_auto_resize=True)
    batch = batches_of(frames, config, 5)[0]
    assert batch["boxes"][0, 0].tolist() == [4, 2, 24, 10]
    np.testing.assert_array_equal(batch["image"][0], load_image(frames.image_paths[0], 64, 12, 3, True))


def test_a_crop_moves_and_clips_the_boxes(frames: FrameTable) -> None:
    config = augmentation_config(16, 16, crop_left=4, crop_top=6, crop_right=20, crop_bottom=22)
    batch = batches_of(frames, config, 5)[0]
    assert batch["boxes"][0, 0].tolist() == [0, 0, 8, 14]
    assert batch["class_ids"].tolist()[2] == [-1, -1]  # 4 x 2 of 8 x 8, and nothing of the other
    with Image.open(frames.image_paths[0]) as image:
        np.testing.assert_array_equal(batch["image"][0] * 255, np.asarray(image)[6:22, 4:20])


def test_scale_applies_to_both(frames: FrameTable) -> None:
    config = augmentation_config(32, 32, scale_width=0.5, scale_height=1.5)
    batch = batches_of(frames, config, 1)[0]
    assert batch["boxes"][0, 0].tolist() == [1, 6, 6, 30]
    assert not batch["image"][0, :, 16:].any() and batch["image"][0, :, :16].any()


def test_grey(frames: FrameTable) -> None:
    config = augmentation_config(32, 24, 1)
    assert batches_of(frames, config, 5)[0]["image"].shape == (5, 24, 32, 1)


def test_no_frames(frames: FrameTable) -> None:
    assert batches_of(frames.subset([]), augmentation_config(32, 24), 2) == []


@pytest.mark.parametrize("kept, read_again", [(0, 5), (2, 3), (5, 0)])
def test_a_second_pass_decodes_only_what_is_not_kept(frames: FrameTable, kept: int, read_again: int) -> None:
    preprocessing = augmentation_config(32, 24).preprocessing
    batches = EvaluationBatches(frames, preprocessing, 1, cache=Cache(kept * 32 * 24 * 3))
    before = list(batches)
    held = [frame for frame in range(5) if batches._images._kept.get(frame) is not None]
    assert len(held) == kept
    for frame in held:
        Path(frames.image_paths[frame]).unlink()
    for first, second in zip(before, batches, strict=True):
        np.testing.assert_array_equal(first["image"], second["image"])
    assert len([path for path in frames.image_paths if Path(path).exists()]) == read_again


def test_a_damaged_image_is_named_when_its_batch_is_due(frames: FrameTable) -> None:
    Path(frames.image_paths[3]).write_bytes(b"nothing")
    batches = iter(EvaluationBatches(frames, augmentation_config(32, 24).preprocessing, 2))
    assert next(batches)["index"].tolist() == [0, 1]
    with pytest.raises(DataError, match=r"3\.png: not an image that can be read$"):
        next(batches)


def test_images_that_cannot_be_read_are_left_out(frames: FrameTable, capsys: pytest.CaptureFixture[str]) -> None:
    Path(frames.image_paths[1]).write_bytes(b"nothing")
    left_out = LeftOut(len(frames), 0.2)
    batches = EvaluationBatches(frames, augmentation_config(32, 24).preprocessing, 2, left_out=left_out)
    assert [batch["index"].tolist() for batch in batches] == [[0, 2], [3, 4]]
    assert next(iter(batches))["class_ids"].tolist() == [[0, -1], [1, 0]]
    assert left_out.paths == [frames.image_paths[1]]
    assert "1.png: not an image that can be read; left out (1 of 5 images cannot be read)" in capsys.readouterr().err


@pytest.mark.parametrize("images, share, most", [(5, 0, 0), (5, 0.01, 1), (1, 0.01, 0), (500, 0.01, 5), (2, 1, 1)])
def test_no_more_than_a_share_is_left_out(images: int, share: float, most: int) -> None:
    left_out = LeftOut(images, share)
    for number in range(most):
        left_out.add(str(number), DataError("damaged"))
        left_out.add(str(number), DataError("damaged"))  # once each
    message = "damaged$" if not most else f"damaged; {most + 1} of {images} images .* more than the {most} that may"
    with pytest.raises(DataError, match=message):
        left_out.add("another", DataError("damaged"))


def test_another_size_than_the_record_says(frames: FrameTable) -> None:
    frames.sizes[4] = (32, 25)
    with pytest.raises(DataError, match=r"4\.png: the image is 32 x 24, its record says 32 x 25"):
        batches_of(frames, augmentation_config(32, 24), 2)


def test_no_more_is_decoded_ahead_than_asked_for() -> None:
    loaded: list[int] = []
    found = map_ahead(lambda item: loaded.append(item) or item, range(100), ahead=4)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    found.close()
    assert len(loaded) <= 3 + 4
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_the_order_is_kept(count: int) -> None:
    assert list(map_ahead(str, range(count), ahead=3)) == [str(number) for number in range(count)]


@pytest.mark.parametrize(
    "box, clipped, kept",
    [
        ((1, 2, 11, 12), (1, 2, 11, 12), True),
        ((-10, 0, 10, 10), (0, 0, 10, 10), True),  # half
        ((-9, 0, 1, 10), (0, 0, 1, 10), False),  # a tenth
        ((60, 40, 80, 50), (60, 40, 64, 48), False),  # 4/20 x 8/10 = 0.16
        ((60, 40, 80, 48), (60, 40, 64, 48), True),  # 4/20: just enough
        ((70, 0, 80, 10), (64, 0, 64, 10), False),  # outside
        ((5, 5, 5.9, 20), (5, 5, 5.9, 20), False),  # thinner than a pixel
        ((5, 5, 6, 6), (5, 5, 6, 6), True),
        ((9, 5, 5, 20), (9, 5, 5, 20), False),  # corners in the wrong order
    ],
)
def test_clip_boxes(box: tuple[float, ...], clipped: tuple[float, ...], kept: bool) -> None:
    boxes, keep = clip_boxes(np.array([box], np.float32), 64, 48)
    np.testing.assert_allclose(boxes[0], clipped)
    assert bool(keep[0]) is kept


@pytest.mark.parametrize("size, kept", [((0, 0), True), ((10, 8), True), ((10.5, 0), False), ((0, 8.5), False)])
def test_smallest_sides(size: tuple[float, float], kept: bool) -> None:
    _, keep = clip_boxes(np.array([[4.0, 4, 14, 12]], np.float32), 64, 48, *size)
    assert bool(keep[0]) is kept


def test_no_boxes() -> None:
    boxes, kept = clip_boxes(np.zeros((0, 4), np.float32), 64, 48)
    assert (boxes.shape, kept.shape) == ((0, 4), (0,))
