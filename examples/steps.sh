# Sourced by the examples: `step TITLE` begins a step, `step_times` ends the last one and prints how long each took.
# A script that another one starts goes on with its list where that calls step_ends and exports step_times_so_far.
step_times_so_far=${step_times_so_far:-}
_step=

step() {
    step_ends
    _step=$*
    _began=$SECONDS
    printf '\n== %s\n' "$_step"
}

step_ends() {
    [ -z "$_step" ] || step_times_so_far+=$((SECONDS - _began))$'\t'$_step$'\n'
    _step=
}

step_times() {
    step_ends
    local processor
    processor=$(python -c 'from qatkit.processor import this_processor; print(this_processor().name)')
    printf '\nSeconds of each step (%s, %s cores)\n' "$processor" "$(getconf _NPROCESSORS_ONLN)"
    printf '%s' "$step_times_so_far" | awk -F '\t' '{ printf "%6d  %s\n", $1, $2; all += $1 } END { printf "%6d  in all\n", all }'
}
