#!/usr/bin/env bash
# The planner beside a plain C++ reference: tuning, the exact recursion, bounds, the sparse solver, cluster files.
# Fails when the two disagree, or when an instruction count passes its bound.
#
# usage: Benchmarks/planner/run.sh [LARGEST-POOL]
set -euo pipefail
cd "$(dirname "$0")/../.."
largest=${1:-100000}
command -v g++ >/dev/null || { echo "planner: g++ is missing, it compiles the reference" >&2; exit 75; }
command -v valgrind >/dev/null || { echo "planner: valgrind is missing, it counts instructions" >&2; exit 75; }
work=.build/benchmark-planner
mkdir -p "$work"
swift build ${RELEASE_FLAGS:--c release} --product benchmark-planner >&2
ours=$(swift build ${RELEASE_FLAGS:--c release} --show-bin-path)/benchmark-planner
g++ -O3 -std=c++17 -o "$work/reference" Benchmarks/planner/reference.cpp
theirs=$work/reference
# Without debugging information, some of which valgrind cannot read.
strip -o "$work/counted" "$ours"

value() { awk -v name="$2" '$1 == name { print $2 }' "$1"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", (b > 0 ? a / b : 0) }'; }
figure() { awk -v a="$1" 'BEGIN { printf (a < 0.1 ? "%.4f" : "%.2f"), a }'; }
short() { awk -v a="$1" 'BEGIN { printf "%.1e", a }'; }
agree() {
    awk -v a="$1" -v b="$2" 'BEGIN { d = a / b - 1; exit !(d < 1e-9 && d > -1e-9) }' ||
        { echo "planner: $3: $1 here, $2 in the reference" >&2; exit 1; }
}
failed=0
# Instructions of one run, against a bound.
count() {
    local bound=$1 what=$2 seen
    shift 2
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" >/dev/null 2>"$work/callgrind" ||
        { cat "$work/callgrind" >&2; exit 1; }
    seen=$(awk '/Collected/ { print $4 }' "$work/callgrind")
    echo "| $what | $seen | $bound |"
    [ "$seen" -le "$bound" ] || { echo "planner: $what took $seen instructions, the bound is $bound" >&2; failed=1; }
}

cat <<'END'
## The planner

`Scripts/bench.sh planner`. The reference is `Benchmarks/planner/reference.cpp`, plain single-core C++ (`g++ -O3`) of the same
algorithms on block boundaries: it tries every `c`, keeps nothing from one to the next, and must give the same `c` and the same mean.
Ratios are the reference's processor time over ours on one thread.

### Tuning `c` by the exact mean

BLOOM-176B on `J` servers, a fifth of them large, `λ = J/20` per second. The last column is wall time on all cores,
whatever else runs there. Below 1,000 servers these are milliseconds, and their ratios rough.

| J | c | reference, s | ChainServe, s | ratio | ChainServe, MB | all cores, s |
| --- | --- | --- | --- | --- | --- | --- |
END
first=
for servers in 20 50 100 200 400 1000 10000 100000; do
    [ "$servers" -le "$largest" ] || continue
    echo "planner: J = $servers" >&2
    "$ours" tune $servers 1 >"$work/ours"
    "$ours" tune $servers 2 >"$work/both"
    "$theirs" tune $servers >"$work/theirs"
    cmp -s <(grep -E '^(c|mean) ' "$work/ours") <(grep -E '^(c|mean) ' "$work/both") ||
        { echo "planner: J = $servers: the plan depends on the threads" >&2; exit 1; }
    agree "$(value "$work/ours" mean)" "$(value "$work/theirs" mean)" "mean at J = $servers"
    [ "$(value "$work/ours" c)" = "$(value "$work/theirs" c)" ] ||
        { echo "planner: J = $servers: another c than the reference's" >&2; exit 1; }
    cpu=$(value "$work/ours" cpu)
    [ "$servers" = 1000 ] && first=$cpu
    echo "| $servers | $(value "$work/ours" c) | $(figure "$(value "$work/theirs" cpu)") | $(figure "$cpu") |" \
        "$(ratio "$(value "$work/theirs" cpu)" "$cpu") | $(figure "$(value "$work/ours" megabytes)") |" \
        "$(figure "$(value "$work/both" seconds)") |"
    if [ "$servers" -gt 1000 ] && [ -n "$first" ]; then
        growth=$(awk -v a="$cpu" -v b="$first" -v n="$servers" 'BEGIN { printf "%.2f", log(a / b) / log(n / 1000) }')
        grown="from 1,000 to the largest pool the time grows as J^$growth"
    fi
done
[ -z "${grown:-}" ] || echo -e "\nHere ${grown}."

cat <<'END'

### Reading the cluster file

JSON, to the cluster that the planner takes; beside tuning the same pool.

| J | seconds | of tuning |
| --- | --- | --- |
END
for servers in 1000 10000 100000; do
    [ "$servers" -le "$largest" ] || continue
    echo "planner: file of $servers" >&2
    "$ours" file $servers >"$work/pool.json"
    "$ours" parse "$work/pool.json" >"$work/parse"
    "$ours" tune $servers 1 >"$work/ours"
    echo "| $servers | $(figure "$(value "$work/parse" cpu)") |" \
        "$(ratio "$(value "$work/parse" cpu)" "$(value "$work/ours" cpu)") |"
done

cat <<'END'

### Exact mean and bounds, 10⁶ slots in 1,000 chains

| what | reference, s | ChainServe, s | ratio | ChainServe, MB |
| --- | --- | --- | --- | --- |
END
for what in exact bounds; do
    echo "planner: $what" >&2
    "$ours" $what 1000 1000000 >"$work/ours"
    "$theirs" $what 1000 1000000 >"$work/theirs"
    for name in mean lower upper; do
        [ -z "$(value "$work/ours" $name)" ] ||
            agree "$(value "$work/ours" $name)" "$(value "$work/theirs" $name)" "$name of 1,000 chains"
    done
    [ $what = exact ] && label="recursion, 32 nodes" || label="both bounds of Theorem 4"
    echo "| $label | $(figure "$(value "$work/theirs" cpu)") | $(figure "$(value "$work/ours" cpu)") |" \
        "$(ratio "$(value "$work/theirs" cpu)" "$(value "$work/ours" cpu)") | $(figure "$(value "$work/ours" megabytes)") |"
done

cat <<'END'

### The sparse solver that checks it

`difference`: of its mean from the recursion's, relative.

| slots of the chains | states | seconds | MB | residual | difference |
| --- | --- | --- | --- | --- | --- |
END
for capacities in "999 999" "99 99 99" "30 30 30 30" "9 9 9 9 9 9"; do
    echo "planner: sparse $capacities" >&2
    # shellcheck disable=SC2086
    "$ours" sparse $capacities >"$work/ours"
    echo "| $capacities | $(value "$work/ours" states) | $(figure "$(value "$work/ours" cpu)") |" \
        "$(figure "$(value "$work/ours" megabytes)") | $(short "$(value "$work/ours" residual)") | $(short "$(value "$work/ours" difference)") |"
done

cat <<'END'

### Instructions

Counted by callgrind; more than the bound fails the benchmark.

| what | instructions | bound |
| --- | --- | --- |
END
count 130000000 "tuning, J = 400" "$work/counted" tune 400
count 125000000 "recursion, 10,000 slots in 100 chains" "$work/counted" exact 100 10000
count 70000000 "sparse solver, 29 29 29 slots" "$work/counted" sparse 29 29 29
exit $failed
