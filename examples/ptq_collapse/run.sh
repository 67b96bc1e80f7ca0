#!/usr/bin/env bash
# Where calibration is not enough: PTQ loses a detector with wide ranges, QAT brings it back.
#
#     bash examples/ptq_collapse/run.sh OUT [SEED ...]        # seeds 42 43 44 without
#
# Per seed: a float detector of figures on cluttered ground (data that it makes), the same detector with ranges widened
# (widen.py: the float network computes the same), INT8 of it by PTQ and by QAT, all from exported files. Then the
# other calibrators on the first seed's detector. Environment: WIDEST, the largest factor (256).
set -euo pipefail
cd "$(dirname "$0")/../.."
bash examples/install.sh
export PATH="$PWD/.venv/bin:$PATH"
out=$1
shift
[ $# -gt 0 ] || set -- 42 43 44
widest=${WIDEST:-256}

python examples/make_synthetic.py "$out/data" --train 200 --val 80 --width 240 --height 144 --seed 0
for seed in "$@"; do
    run=$out/seed-$seed
    mkdir -p "$run"
    python examples/own_data/make_specs.py "$out/data" "$run" --layers 10 --epochs 16 --qat_epochs 8 \
        --qat_from "$run/wide.tlt" --seed "$seed"
    for split in train val; do
        qatkit dataset_convert -d "$run/specs/convert_$split.txt" -o "$run/tfrecords/$split/part"
    done
    qatkit train -e "$run/specs/train.txt" -r "$run/train" --precision auto
    python examples/ptq_collapse/widen.py "$run/train/weights/model.tlt" "$run/wide.tlt" --widest "$widest" --seed "$seed"
    qatkit train -e "$run/specs/qat.txt" -r "$run/qat"
    qatkit compare -e "$run/specs/qat.txt" -o "$run/report" \
        -m float="$run/train/weights/model.tlt" -m wide="$run/wide.tlt" -m qat="$run/qat/weights/model.tlt"
done
python examples/summarize.py "$out"/seed-*/report/result.json --reference wide

printf '\nThe calibrators on the widened detector of seed %s\n' "$1"
run=$out/seed-$1
for calibrator in entropy minmax percentile mse; do
    qatkit export -m "$run/wide.tlt" -o "$run/$calibrator/model.onnx" -e "$run/specs/qat.txt" --data_type int8 \
        --calibrator "$calibrator" > "$run/$calibrator.log"
    qatkit evaluate -e "$run/specs/qat.txt" -m "$run/$calibrator/model.qdq.onnx" --json "$run/$calibrator.json" \
        | sed -n "s/^Mean/$calibrator: mean/p"
done
