"""Write the spec files for a data set in KITTI layout: DATA/{train,val}/{images,labels} -> OUT/specs/*.txt.

Classes, image size and file extension are taken from the data unless flags give them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from PIL import Image

STRIDE = 16  # sizes of network inputs are multiples of it


def main() -> None:
    args = arguments()
    images = sorted((args.data / "train" / "images").iterdir())
    if not images:
        raise SystemExit(f"{args.data}/train/images: no images")
    with Image.open(images[0]) as image:
        width = args.width or nearest(image.width)
        height = args.height or nearest(image.height)
    classes = args.classes or class_list(args.data / "train" / "labels")
    specs = args.out / "specs"
    specs.mkdir(parents=True, exist_ok=True)
    extension = images[0].suffix
    for split in ("train", "val"):
        (specs / f"convert_{split}.txt").write_text(convert_spec(args.data.resolve() / split, extension))
    common = {"args": args, "classes": classes, "size": (width, height), "extension": extension}
    (specs / "train.txt").write_text(experiment(**common, epochs=args.epochs, rate=args.rate, pretrained=""))
    pruned = args.out / "pruned.tlt"
    (specs / "retrain.txt").write_text(
        experiment(**common, epochs=args.retrain_epochs, rate=args.rate, pretrained=pruned)
    )
    retrained = args.qat_from or args.out / "retrain" / "weights" / "model.tlt"
    (specs / "qat.txt").write_text(
        experiment(
            **common, epochs=args.qat_epochs, rate=args.rate * args.qat_rate_factor, pretrained=retrained, qat=True
        )
    )
    (specs / "infer.txt").write_text(inference(classes, (width, height), args))
    print(f"specs for {len(classes)} classes ({', '.join(classes)}) at {width}x{height} in {specs}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("data", type=Path)
    add("out", type=Path)
    add("--classes", nargs="*", help="class names; by default all in the labels, the most frequent first")
    add("--width", type=int, default=0, help="network input; 0 = the images' own, to the nearest multiple of 16")
    add("--height", type=int, default=0)
    add("--layers", type=int, default=18, help="ResNet depth")
    add("--epochs", type=int, default=60)
    add("--retrain_epochs", type=int, default=40, help="of the pruned network, float")
    add("--qat_epochs", type=int, default=20)
    add("--batch_size", type=int, default=4)
    add("--rate", type=float, default=1e-3, help="max_learning_rate")
    add("--qat_rate_factor", type=float, default=0.2, help="of --rate, for quantization-aware training")
    add("--qat_from", type=Path, help="float model to start QAT from; default: OUT/retrain/weights/model.tlt")
    add("--foreground_weight", type=float, default=0.5, help="coverage_foreground_weight")
    add("--coverage_radius", type=float, default=0.6, help="cov_radius_x and cov_radius_y")
    add("--autoweighting", action=argparse.BooleanOptionalAction, default=False, help="enable_autoweighting")
    add("--pretrained", default="", help="model whose backbone the first training starts from")
    add("--seed", type=int, default=42)
    add("--zoom", type=float, nargs=2, default=(0.8, 1.25), help="zoom_min and zoom_max")
    add("--pixel_translation", type=float, default=16, help="translate_max_x and translate_max_y")
    add("--vflip", type=float, default=0.0, help="vflip_probability")
    return parser.parse_args()


def nearest(size: int) -> int:
    """The multiple of the stride closest to `size`."""
    return max(round(size / STRIDE), 1) * STRIDE


def class_list(labels: Path) -> list[str]:
    """Class names in the label files, lower-cased as dataset_convert stores them, the most frequent first."""
    lines = (line for path in labels.glob("*.txt") for line in path.read_text().splitlines())
    counts = Counter(line.split()[0].lower() for line in lines if line.strip())
    counts.pop("dontcare", None)
    return [name for name, _ in counts.most_common()]


def convert_spec(root: Path, extension: str) -> str:
    return f"""kitti_config {{
  root_directory_path: "{root}"
  image_dir_name: "images"
  label_dir_name: "labels"
  image_extension: "{extension}"
  partition_mode: "random"
  num_partitions: 2
  val_split: 0
  num_shards: 1
}}
"""


def experiment(
    args: argparse.Namespace,
    classes: list[str],
    size: tuple[int, int],
    extension: str,
    epochs: int,
    rate: float,
    pretrained: Path | str,
    qat: bool = False,
) -> str:
    data = args.data.resolve()
    pretrained_line = (
        f'  pretrained_model_file: "{pretrained or args.pretrained}"\n' if pretrained or args.pretrained else ""
    )
    limits = "  max_objective_weight: 0.9999\n  min_objective_weight: 0.0001\n"
    built = f"  num_layers: {args.layers}\n  use_batch_norm: true\n"  # what is loaded has its layers
    mapping = "".join(f'  target_class_mapping {{ key: "{name}" value: "{name}" }}\n' for name in classes)
    return f"""random_seed: {args.seed}
dataset_config {{
  data_sources {{
    tfrecords_path: "{args.out.resolve()}/tfrecords/train/*"
    image_directory_path: "{data}/train"
  }}
  validation_data_source {{
    tfrecords_path: "{args.out.resolve()}/tfrecords/val/*"
    image_directory_path: "{data}/val"
  }}
  image_extension: "{extension.lstrip(".")}"
{mapping}}}
augmentation_config {{
  preprocessing {{
    output_image_width: {size[0]}
    output_image_height: {size[1]}
    output_image_channel: 3
    min_bbox_width: 1.0
    min_bbox_height: 1.0
    enable_auto_resize: true
  }}
  spatial_augmentation {{
    hflip_probability: 0.5
    vflip_probability: {args.vflip}
    zoom_min: {args.zoom[0]}
    zoom_max: {args.zoom[1]}
    translate_max_x: {args.pixel_translation}
    translate_max_y: {args.pixel_translation}
  }}
  color_augmentation {{
    hue_rotation_max: 25.0
    saturation_shift_max: 0.2
    contrast_scale_max: 0.1
    contrast_center: 0.5
  }}
}}
postprocessing_config {{
{per_class(classes, clustering)}}}
model_config {{
{pretrained_line}  arch: "resnet"
{"  load_graph: true" if pretrained else built.rstrip()}
  objective_set {{
    bbox {{ scale: 35.0 offset: 0.5 }}
    cov {{ }}
  }}
}}
evaluation_config {{
  validation_period_during_training: {max(epochs // 4, 1)}
  first_validation_epoch: {max(epochs // 4, 1)}
  average_precision_mode: INTEGRATE
{"".join(evaluation(name) for name in classes)}}}
cost_function_config {{
{"".join(target_class(name, args.foreground_weight) for name in classes)}\
  enable_autoweighting: {str(args.autoweighting).lower()}
{limits if args.autoweighting else ""}}}
training_config {{
  batch_size_per_gpu: {args.batch_size}
  num_epochs: {epochs}
  enable_qat: {str(qat).lower()}
  learning_rate {{
    soft_start_annealing_schedule {{
      min_learning_rate: {rate / 100:.3g}
      max_learning_rate: {rate:.3g}
      soft_start: 0.1
      annealing: 0.5
    }}
  }}
  regularizer {{ type: L1 weight: 3e-9 }}
  optimizer {{ adam {{ epsilon: 1e-8 beta1: 0.9 beta2: 0.999 }} }}
  cost_scaling {{ initial_exponent: 20.0 increment: 0.005 decrement: 1.0 }}
  checkpoint_interval: {max(epochs // 4, 1)}
}}
bbox_rasterizer_config {{
{per_class(classes, lambda: rasterizer(args.coverage_radius))}  deadzone_radius: 0.4
}}
"""


def per_class(classes: list[str], value: object) -> str:
    assert callable(value)
    return "".join(
        f'  target_class_config {{\n    key: "{name}"\n    value {{ {value()} }}\n  }}\n' for name in classes
    )


def clustering() -> str:
    return """clustering_config {
      clustering_algorithm: NMS
      coverage_threshold: 0.01
      nms_iou_threshold: 0.4
      nms_confidence_threshold: 0.01
    }"""


def rasterizer(radius: float) -> str:
    return f"cov_center_x: 0.5 cov_center_y: 0.5 cov_radius_x: {radius} cov_radius_y: {radius} bbox_min_radius: 1.0"


def evaluation(name: str) -> str:
    return f"""  minimum_detection_ground_truth_overlap {{ key: "{name}" value: 0.5 }}
  evaluation_box_config {{
    key: "{name}"
    value {{ minimum_height: 4 maximum_height: 9999 minimum_width: 4 maximum_width: 9999 }}
  }}
"""


def target_class(name: str, foreground_weight: float) -> str:
    return f"""  target_classes {{
    name: "{name}"
    class_weight: 1.0
    coverage_foreground_weight: {foreground_weight}
    objectives {{ name: "cov" initial_weight: 1.0 weight_target: 1.0 }}
    objectives {{ name: "bbox" initial_weight: 10.0 weight_target: 10.0 }}
  }}
"""


def inference(classes: list[str], size: tuple[int, int], args: argparse.Namespace) -> str:
    colors = ((0, 255, 0), (255, 0, 0), (0, 128, 255), (255, 255, 0))
    handlers = "".join(
        f"""  classwise_bbox_handler_config {{
    key: "{name}"
    value {{
      confidence_model: "aggregate_cov"
      output_map: "{name}"
      bbox_color {{ R: {color[0]} G: {color[1]} B: {color[2]} }}
      clustering_config {{
        clustering_algorithm: NMS
        coverage_threshold: 0.3
        nms_iou_threshold: 0.4
        nms_confidence_threshold: 0.3
      }}
    }}
  }}
"""
        for name, color in zip(classes, colors * len(classes))
    )
    targets = "".join(f'  target_classes: "{name}"\n' for name in classes)
    return f"""inferencer_config {{
{targets}  image_width: {size[0]}
  image_height: {size[1]}
  image_channels: 3
  batch_size: {args.batch_size}
  tlt_config {{ model: "{args.out}/qat/weights/model.tlt" }}
}}
bbox_handler_config {{
  kitti_dump: true
  overlay_linewidth: 2
{handlers}}}
"""


if __name__ == "__main__":
    main()
