# Sourced: rows of the engine's benchmark. Run from the package's root.
#
# BENCHMARK_ENGINE names a built benchmark-engine; without it one is built.

program=${BENCHMARK_ENGINE:-}
if [ -z "$program" ]; then
    echo "engine: building" >&2
    swift build ${RELEASE_FLAGS:--c release} --product benchmark-engine >&2
    program=.build/release/benchmark-engine
fi

table_head() {
    echo "| device | model | error | same | prompt of 512 | 1 job | 4 jobs | 16 jobs | 64 jobs |"
    echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
}

# A row of the table, and in $log what was printed.
table_row() { # arguments of benchmark-engine ...
    echo "engine: $*" >&2
    log=$("$program" "$@")
    echo "$log" >&2
    awk '
        function cell(name) { return (name in rate) ? rate[name] " (" ratio[name] "×)" : "" }
        $1 == "device" { device = $2 }
        $1 == "model" { sub(/^model /, ""); model = $0 }
        $1 == "libllama_relative_error" { error = $2 }
        $1 == "libllama_same_tokens" { same = $2 }
        $3 == "tokens/s," { rate[$1] = $2; ratio[$1] = $NF }
        END {
            printf "| %s | %s | %.1g | %s | %s | %s | %s | %s | %s |\n", device, model, error, same,
                cell("prefill_512"), cell("decode_1"), cell("decode_4"), cell("decode_16"), cell("decode_64")
        }' <<<"$log"
}
