#!/usr/bin/env bash
# All tests but the long ones, as two halves at once: those on the cluster mostly wait, and the others mostly compute.
# The first half is shown as it goes, the other when it has ended. Options for pytest: PYTEST_ADDOPTS.
set -uo pipefail

log=$(mktemp)
"${BIN:-.venv/bin}/pytest" -q -m 'not cluster and not long' -p no:cacheprovider > "$log" 2>&1 &
other=$!
trap 'kill "$other" 2> /dev/null; rm -f "$log"' EXIT
trap 'exit 130' INT TERM

"${BIN:-.venv/bin}/pytest" -m 'cluster and not long'
cluster=$?
wait "$other"
rest=$?
echo
echo "The tests that need no cluster:"
cat "$log"

# 5: none was selected, as by an option that names tests of one half.
for code in "$cluster" "$rest"; do
  [ "$code" -eq 0 ] || [ "$code" -eq 5 ] || exit "$code"
done
[ "$cluster" -eq 0 ] || [ "$rest" -eq 0 ]
