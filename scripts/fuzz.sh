#!/usr/bin/env bash
# Runs each fuzz target for some seconds, from its seeds (fuzz/corpus/TARGET).
#
# usage: scripts/fuzz.sh SECONDS
#
# Without a sanitizer, so that a stable compiler will do: the fuzzed crates have no unsafe code, and
# panics, hangs and excessive memory are found all the same. What it learns stays in
# target/fuzz-corpus and makes the next run better; a finding is written to fuzz/artifacts.
set -euo pipefail

cd "$(dirname "$0")/.."
seconds=${1:?usage: scripts/fuzz.sh SECONDS}

targets=$(cargo fuzz list)
[ -n "$targets" ] || { echo 'fuzz: no targets' >&2; exit 1; }
for target in $targets; do
    echo "fuzz: $target for $seconds s"
    corpus=target/fuzz-corpus/$target
    mkdir -p "$corpus"
    seeds=()
    if [ -d "fuzz/corpus/$target" ]; then seeds=("fuzz/corpus/$target"); fi
    # One input may take 5 s and 1 GiB at most.
    cargo fuzz run --sanitizer none "$target" "$corpus" ${seeds[@]+"${seeds[@]}"} -- \
        -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 2>&1 |
        # All but a line for each new input, and a dictionary to recommend.
        grep -vE '^#[0-9]+|^"|^INFO|NEW_FUNC|^WARNING: Failed to find function|ecommended dictionary'
done
