#!/bin/sh
# Mutation check, by hand: applies each patch of Tests/Mutants/SUITE to a scratch copy of the sources, one at
# a time, and expects the suite's tests to fail (or to hang, within LIMIT seconds). Exit status 1 if a mutant
# survives.
#
#   Scripts/mutants.sh dispatch|control [PATCH ...]
#
# With WITHOUT_INVARIANTS=1 the sources' own `checkInvariants` does nothing, so that only tests can notice.
set -eu

limit=${LIMIT:-300}
root=$(cd "$(dirname "$0")/.." && pwd)
suite=${1:-}
case $suite in
dispatch) targets="ChainModel ChainDispatch" tests=ChainDispatchTests stages=. ;;
# Unit tests of the control plane, then seeds of the fault simulation.
control)
    targets="ChainModel ChainDispatch ChainPlanning ChainFaults" tests="ChainDispatchTests ChainFaultsTests"
    stages="Control everyPromiseIsKept|rolloutsFailNoRequest|ticketsAreHonoured"
    ;;
*)
    echo "usage: Scripts/mutants.sh dispatch|control [PATCH ...]" >&2
    exit 2
    ;;
esac
shift
[ $# -gt 0 ] || set -- "$root/Tests/Mutants/$suite"/*.patch

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/Sources" "$scratch/Tests"

# A package of the suite's targets alone, each depending on those before it.
{
    echo '// swift-tools-version: 6.2'
    echo 'import PackageDescription'
    echo 'let package = Package(name: "Mutants", platforms: [.macOS(.v15)],'
    numerics=
    case $targets in *ChainPlanning*)
        echo '    dependencies: [.package(url: "https://github.com/apple/swift-numerics", from: "1.1.1")],'
        numerics='.product(name: "RealModule", package: "swift-numerics"), '
        ;;
    esac
    echo '    targets: ['
    before=
    for target in $targets; do
        product=
        [ "$target" != ChainPlanning ] || product=$numerics
        echo "    .target(name: \"$target\", dependencies: [$before$product]),"
        before="$before\"$target\", "
    done
    for test in $tests; do
        echo "    .testTarget(name: \"$test\", dependencies: [$before]),"
    done
    echo '], swiftLanguageModes: [.v6])'
} >"$scratch/Package.swift"

fresh() {
    for target in $targets; do
        rm -rf "$scratch/Sources/$target"
        cp -R "$root/Sources/$target" "$scratch/Sources/$target"
    done
    [ -n "${WITHOUT_INVARIANTS:-}" ] || return 0
    for file in $(grep -rl 'func checkInvariants() {' "$scratch/Sources"); do
        sed 's/func checkInvariants() {/& if true { return }/' "$file" >file && mv file "$file"
    done
}

# Runs the tests stage by stage, as long as they pass.
check() {
    : >log
    for stage in $stages; do timeout "$limit" swift test --skip-build --filter "$stage" >log 2>&1 || return 1; done
}

cd "$scratch"
fresh
for test in $tests; do cp -R "$root/Tests/$test" "Tests/$test"; done
echo "Building and testing the unchanged sources ..."
if ! { swift build --build-tests >log 2>&1 && check; }; then
    cat log >&2
    echo "The unchanged sources do not pass." >&2
    exit 1
fi

survivors=0
for patch in "$@"; do
    case $patch in /*) ;; *) patch=$OLDPWD/$patch ;; esac
    fresh
    name=$(basename "$patch" .patch)
    if ! patch -s -p1 <"$patch" || ! swift build --build-tests >log 2>&1; then
        echo "INVALID   $name: does not apply or build"
        survivors=$((survivors + 1))
    elif check; then
        echo "SURVIVED  $name"
        survivors=$((survivors + 1))
    else
        # The tests that noticed, or the trap of an invariant.
        by=$(sed -n -e 's/^✘ Test \([A-Za-z]*\)(.*failed after.*/\1/p' \
            -e 's/.*Fatal error: /trap: /p' -e 's/.*Precondition failed: /trap: /p' log |
            sort -u | head -n 4 | paste -sd ' ' -)
        echo "killed    $name (${by:-no answer in $limit s})"
    fi
done
[ "$survivors" = 0 ] || {
    echo "$survivors of $# mutants were not killed." >&2
    exit 1
}
echo "All $# mutants were killed."
