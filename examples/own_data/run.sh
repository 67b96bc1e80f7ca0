#!/usr/bin/env bash
# The whole workflow on a folder in KITTI layout: DATA/{train,val}/{images,labels}.
#
#     bash examples/own_data/run.sh DATA OUT [flags of make_specs.py, e.g. --layers 18 --width 480 --height 272]
#
# Environment: QATKIT_KEY the pass-phrase of the model files (default: qatkit), QATKIT_PTH the pruning threshold
# (default: so that half of the parameters go), QATKIT_TRAIN_FLAGS more flags for the float trainings
# (default: --precision auto, bfloat16 where that is quicker). The last lines tell how long each step took.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$1 out=$2
shift 2
key=${QATKIT_KEY:-qatkit}
train_flags=${QATKIT_TRAIN_FLAGS---precision auto}
if [ -n "${QATKIT_PTH:-}" ]; then amount="-pth $QATKIT_PTH"; else amount="--target_ratio 0.45"; fi
. "$here/../steps.sh"

mkdir -p "$out"
python "$here/make_specs.py" "$data" "$out" "$@"
specs=$out/specs

step "labels and images -> TFRecords"
for split in train val; do
    qatkit dataset_convert -d "$specs/convert_$split.txt" -o "$out/tfrecords/$split/part"
done

step "train"
# shellcheck disable=SC2086  # flags are words
qatkit train -e "$specs/train.txt" -r "$out/train" -k "$key" $train_flags

step "prune"
# shellcheck disable=SC2086
qatkit prune -m "$out/train/weights/model.tlt" -o "$out/pruned.tlt" -k "$key" -eq union $amount

step "retrain the pruned network, float"
# shellcheck disable=SC2086
qatkit train -e "$specs/retrain.txt" -r "$out/retrain" -k "$key" $train_flags

step "retrain it with quantization-aware training"
qatkit train -e "$specs/qat.txt" -r "$out/qat" -k "$key"

step "evaluate the fake-quantized network"
qatkit evaluate -e "$specs/qat.txt" -m "$out/qat/weights/model.tlt" -k "$key" --json "$out/qat.json"

step "export: ONNX + calibration cache for TensorRT 8 to 10, Q/DQ ONNX for everything newer, DeepStream files"
mkdir -p "$out/export"
qatkit export -m "$out/qat/weights/model.tlt" -k "$key" -o "$out/export/model.onnx" -e "$specs/qat.txt" \
    --data_type int8 --cal_cache_file "$out/export/cal.bin" --gen_ds_config

step "evaluate what was exported, in INT8, on the CPU"
qatkit evaluate -e "$specs/qat.txt" -m "$out/export/model.qdq.onnx" --json "$out/export/qdq.json"
qatkit evaluate -e "$specs/qat.txt" -m "$out/export/model.onnx" --cal_cache_file "$out/export/cal.bin" \
    --json "$out/export/cache.json"

step "detect objects in the validation images"
qatkit inference -e "$specs/infer.txt" -i "$data/val/images" -m "$out/export/model.qdq.onnx" -r "$out/inference"

step "FP32, INT8 by PTQ and INT8 by QAT side by side"
qatkit compare -e "$specs/qat.txt" -k "$key" -o "$out/report" \
    -m unpruned="$out/train/weights/model.tlt" \
    -m pruned="$out/retrain/weights/model.tlt" \
    -m qat="$out/qat/weights/model.tlt"

step_times
