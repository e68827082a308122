#!/usr/bin/env bash
# Decisions on 1,000 chains: the dispatcher, and the control plane that serves around it, beside plain C++.
# Run from the package's root.
set -euo pipefail
here=Benchmarks/dispatch
command -v g++ >/dev/null || { echo "dispatch: g++ is not installed" >&2; exit 75; }
echo "dispatch: building" >&2
swift build ${RELEASE_FLAGS:--c release} --product benchmark-dispatch >&2
mkdir -p .build
g++ -O3 -o .build/dispatch-reference $here/reference.cpp
program=.build/release/benchmark-dispatch
decisions=2000000

value() { tr ' ' '\n' <<<"$1" | grep -A 1 -x "$2" | tail -1; }
# Decisions per second of CPU, the best of five runs; the checksum after it.
speed() {
    local best=0 line
    for _ in 1 2 3 4 5; do
        line=$("$@" $decisions)
        best=$(awk -v b="$best" -v d=$decisions -v s="$(value "$line" cpu_seconds)" \
            'BEGIN { r = d / s; printf "%.0f", (r > b) ? r : b }')
    done
    echo "$best $(value "$line" checksum)"
}

rows=""
for case in free waiting; do
    echo "dispatch: $case" >&2
    read -r plain expected < <(speed .build/dispatch-reference $case)
    for system in dispatcher control; do
        read -r ours found < <(speed $program $system $case)
        [ "$found" = "$expected" ] || { echo "dispatch: $system $case decides otherwise than the reference" >&2; exit 1; }
        allocations="–"
        if [ "$(uname)" = Linux ]; then
            gcc -O2 -shared -fPIC -o .build/count-allocations.so Benchmarks/simulator/allocations.c -ldl
            count() { LD_PRELOAD=$PWD/.build/count-allocations.so $program $system $case "$1" 2>&1 >/dev/null | awk '{ print $2 }'; }
            allocations=$(($(count 1000000) - $(count 200000)))
            [ "$allocations" -le 0 ] || { echo "dispatch: $system $case: $allocations allocations in 800,000 decisions" >&2; exit 1; }
        fi
        label=$([ $system = dispatcher ] && echo "\`Dispatcher\`" || echo "\`ControlPlane\`, which the service calls")
        rows+="| $label | $case | $ours | $(awk -v a="$ours" -v b="$plain" 'BEGIN { printf "%.2f", a / b }') × | $allocations |"$'\n'
    done
    rows+="| plain C++ | $case | $plain | 1 | |"$'\n'
done

cat <<END
## Dispatch decisions

\`make bench ARGS=dispatch\`: 1,000 chains of four slots over 300 servers. A decision puts a job on a chain; with each, a job ends and
another arrives, so it stands for two events. *free*: 3,800 jobs run, a chain is always free. *waiting*: all slots are taken, 100 jobs wait.
Decisions per CPU second, the best of five runs of $decisions; the ratio is ours over the C++ program's, which keeps an ordered set, a
deque and a hash table, and knows no servers, deadlines, clients, retries or admission. All three decide alike (checksums over jobs and chains).

| | case | decisions per CPU second | ratio | allocations in 800,000 more (gate: 0) |
| --- | --- | ---: | ---: | ---: |
$rows
END
