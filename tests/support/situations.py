"""Data as people have it: each situation of tests/dataset/README.md, made in the current folder.

Here what they share, folders and KITTI labels; pictures, COCO and models in modules of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from tests.support.commands import replaced, succeed
from tests.support.frames import LINE, noise, write_image
from tests.support.specs import EXPERIMENT

Make = Callable[[], None]
SIZE = (64, 48)
CAR = LINE.format("Car", 4, 4, 40, 30)

KITTI = """
kitti_config {
  root_directory_path: "."
  image_dir_name: "images"
  label_dir_name: "labels"
  image_extension: "jpg"
  partition_mode: "random"
  num_partitions: 2
  num_shards: 1
  val_split: 25
}
"""
SEQUENCES = ('"random"', '"sequence" kitti_sequence_to_frames_file: "sequences.json"')

SITUATIONS: dict[str, Make] = {}


def situation(*names: str) -> Callable[[Make], Make]:
    """Register what makes the situations with these names."""

    def register(make: Make) -> Make:
        for name in names:
            assert name not in SITUATIONS, name
            SITUATIONS[name] = make
        return make

    return register


def write(path: str, text: str | bytes) -> Path:
    """A file with its folders."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text.encode() if isinstance(text, str) else text)
    return place


def picture(path: str, size: tuple[int, int] = SIZE) -> Path:
    """A picture, every one of its pixels another."""
    return write_image(Path(path), noise(*size))


def halve(path: str) -> None:
    """What is left of a file when a download breaks off."""
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])


def labelled(*names: str, label: str = f"{CAR}\n") -> None:
    """Images with label files."""
    for name in names:
        picture(f"images/{name}")
        write(f"labels/{Path(name).stem}.txt", label)


def kitti(names: Sequence[str] = ("a.jpg", "b.jpg", "c.jpg", "d.jpg"), *edits: tuple[str, str]) -> None:
    """Images with a car each, and the spec kitti.txt, edited, of their conversion."""
    labelled(*names)
    write("kitti.txt", replaced(KITTI, *edits))


def second_line(line: str | bytes) -> Make:
    """The label file of one image has this line too."""

    def make() -> None:
        kitti()
        write("labels/b.txt", f"{CAR}\n".encode() + (line.encode() if isinstance(line, str) else line))

    return make


def experiment(records: str = "records", *edits: tuple[str, str]) -> None:
    """The spec train.txt of a training on record files."""
    own = (
        ('"records/*"', f'"{records}"'),
        ('"images"', '"."'),
        ('"png"', '"jpg"'),
        ("output_image_channel: 3", "output_image_channel: 3 enable_auto_resize: true"),
    )
    write("train.txt", replaced(EXPERIMENT, *own, *edits))


def converted(*flags: str) -> None:
    """`kitti`, converted into the folder records, and a spec to train on it."""
    kitti()
    succeed("dataset_convert", "-d", "kitti.txt", "-o", "records/", *flags)
    experiment()


def rotated(path: str, orientation: int) -> None:
    """A picture that viewers show turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(*SIZE)).save(path, exif=exif)


def large(path: str, width: int, height: int) -> None:
    """A picture of one bit per pixel, all black, which takes no space."""
    Image.new("1", (width, height)).save(path)


# ---- Folders and record files


@situation("output name too long for the file system")
@situation(
    "output folder with / at its end",
    "output folder with brackets and blanks",
    "no output name",
    "output folder below ~",
)
def _four_images() -> None:
    kitti()


@situation("a file where the output folder should be")
def _file_in_the_way() -> None:
    kitti()
    write("records", "")


@situation("records are beside the folder that is named")
def _beside() -> None:
    kitti()
    succeed("dataset_convert", "-d", "kitti.txt", "-o", "records")
    Path("records").mkdir()
    experiment("records/*")


@situation("tfrecords_path is a folder")
def _folder_of_records() -> None:
    converted()


@situation("tfrecords_path is what -o was")
def _prefix_as_path() -> None:
    kitti()
    succeed("dataset_convert", "-d", "kitti.txt", "-o", "records/part")
    experiment("records/part")


@situation("tfrecords_path with brackets")
def _brackets() -> None:
    kitti()
    succeed("dataset_convert", "-d", "kitti.txt", "-o", "set [1]/part")
    experiment("set [1]/part*")


@situation("record files are on another machine")
def _elsewhere() -> None:
    experiment("/data/records/*", ('image_directory_path: "."', 'image_directory_path: "/data"'))


@situation("a file where the label folder should be")
def _label_folder_is_a_file() -> None:
    kitti()
    write("kitti.txt", replaced(KITTI, ('"labels"', '"kitti.txt"')))


# ---- What is passed over


@situation("images of five endings", "images of five endings, checked")
def _endings() -> None:
    kitti(("a.jpg", "b.JPG", "c.Jpg"))
    labelled("d.jpeg", "e.PNG")
    for path in ("labels/none.txt", "labels/classes.TXT", "images/.DS_Store", "images/notes.md"):
        write(path, "")
    Path("images/more").mkdir()


@situation("no image with the ending of the spec")
def _other_ending() -> None:
    kitti(("a.png", "b.png"))


@situation("image without a label file", "image without a label file, left out")
def _without_label() -> None:
    kitti()
    Path("labels/b.txt").unlink()


@situation("label files called .TXT")
def _upper_case_labels() -> None:
    kitti()
    Path("labels/b.txt").rename("labels/b.TXT")


@situation("a.jpg and a.JPG")
def _twins() -> None:
    kitti(("a.jpg", "a.JPG", "b.jpg"))


@situation("a.jpg and a.png, KITTI")
def _same_stem() -> None:
    kitti()
    picture("images/a.png")


@situation("images that are in no sequence")
def _no_sequence() -> None:
    kitti(("a.jpg", "b.jpg", "c.jpg", "d.jpg"), SEQUENCES)
    write("sequences.json", '{"one": ["a"], "two": ["b.jpg"]}')


@situation("a file name in Latin-1, as from an old archive")
def _latin_name() -> None:
    kitti()
    for folder, ending in (("images", "jpg"), ("labels", "txt")):
        content = Path(folder, f"a.{ending}").read_bytes()
        Path(folder, os.fsdecode(b"stra\xdfe." + ending.encode())).write_bytes(content)


@situation("a frame in two sequences")
def _two_sequences() -> None:
    kitti(("a.jpg", "b.jpg"), SEQUENCES)
    write("sequences.json", '{"one": ["a"], "two": ["a", "b"]}')


# ---- Lines of KITTI

_OF_LINES: dict[str, str | bytes] = {
    "class name with a number": "Class 2 0.00 0 0.00 4 4 20 20 0 0 0 0 0 0 0\n",
    "class name with a small number": "Class 1 0.00 0 0.00 4 4 20 20 0 0 0 0 0 0 0\n",
    "class name with a word": "Traffic light 0.00 0 0.00 4 4 20 20 0 0 0 0 0 0 0\n",
    "truncation 2": CAR.replace("0.00 0", "2 0", 1),
    "occlusion 7": CAR.replace("0.00 0", "0.00 7", 1),
    "corners swapped": LINE.format("Car", 20, 20, 4, 4),
    "box of no area, as from fractions": LINE.format("Car", 0.1, 0.1, 0.5, 0.5),
    "labels of another resolution": LINE.format("Car", 400, 200, 900, 500),
    "a coordinate that is no number": LINE.format("Car", "nan", 4, 20, 20),
    "lines with a score": f"{CAR} 0.9",
    "labels of another format": "0 0.5 0.5 0.2 0.2",
    "a comment": "# drawn by hand",
    "labels in Latin-1": LINE.format("Fu\xdfg\xe4nger", 4, 4, 20, 20).encode("latin-1"),
    "labels with tabs": CAR.replace(" ", "\t"),
}
for _name, _line in _OF_LINES.items():
    situation(_name)(second_line(_line))
situation("labels of another resolution, checked")(second_line(_OF_LINES["labels of another resolution"]))


@situation("labels saved by Windows")
def _windows() -> None:
    kitti()
    write("labels/b.txt", f"\ufeff{CAR}\r\n{CAR}\r\n")


@situation("a pipe among the labels")
def _label_pipe() -> None:
    kitti()
    Path("labels/b.txt").unlink()
    os.mkfifo("labels/b.txt")


# ---- val_split


@situation("val_split 10 of 3 images")
def _small_split() -> None:
    kitti(("a.jpg", "b.jpg", "c.jpg"), ("val_split: 25", "val_split: 10"))


@situation("val_split 100")
def _whole_split() -> None:
    kitti(("a.jpg", "b.jpg", "c.jpg"), ("val_split: 25", "val_split: 100"))


@situation("training after val_split 0")
def _no_split() -> None:
    kitti(("a.jpg", "b.jpg", "c.jpg"), ("val_split: 25", "val_split: 0"))
    succeed("dataset_convert", "-d", "kitti.txt", "-o", "records/")
    experiment()
