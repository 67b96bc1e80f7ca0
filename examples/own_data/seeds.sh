#!/usr/bin/env bash
# How much of a result is chance: the float and the quantization-aware training of one pruned network, seed by seed.
#
#     bash examples/own_data/seeds.sh DATA OUT "42 43 44" [flags of make_specs.py]
#
# Training and pruning happen once, with the first seed (as run.sh does, with the same environment variables); then
# for every seed the pruned network is retrained in float, from there with QAT, and what is exported of all is
# compared. The last table has mean and spread. QATKIT_QAT_FLAGS: more flags for the QAT trainings.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$1 out=$2 seeds=$3
shift 3
key=${QATKIT_KEY:-qatkit}
train_flags=${QATKIT_TRAIN_FLAGS---precision auto}
first=${seeds%% *}

mkdir -p "$out"
python "$here/make_specs.py" "$data" "$out" "$@" --seed "$first"
for split in train val; do
    qatkit dataset_convert -d "$out/specs/convert_$split.txt" -o "$out/tfrecords/$split/part"
done
# shellcheck disable=SC2086  # flags are words
qatkit train -e "$out/specs/train.txt" -r "$out/train" -k "$key" $train_flags
qatkit prune -m "$out/train/weights/model.tlt" -o "$out/pruned.tlt" -k "$key" -eq union --target_ratio 0.45

for seed in $seeds; do
    run=$out/seed-$seed
    mkdir -p "$run/specs"
    for spec in retrain qat; do
        # The same specs with this seed, and QAT from this seed's float model.
        sed -e "s|^random_seed: .*|random_seed: $seed|" -e "s|$out/retrain/|$run/retrain/|" \
            "$out/specs/$spec.txt" > "$run/specs/$spec.txt"
    done
    # shellcheck disable=SC2086
    qatkit train -e "$run/specs/retrain.txt" -r "$run/retrain" -k "$key" $train_flags
    # shellcheck disable=SC2086
    qatkit train -e "$run/specs/qat.txt" -r "$run/qat" -k "$key" ${QATKIT_QAT_FLAGS:-}
    qatkit compare -e "$run/specs/qat.txt" -k "$key" -o "$run/report" \
        -m unpruned="$out/train/weights/model.tlt" -m pruned="$run/retrain/weights/model.tlt" \
        -m qat="$run/qat/weights/model.tlt"
done
python "$here/../summarize.py" "$out"/seed-*/report/result.json
