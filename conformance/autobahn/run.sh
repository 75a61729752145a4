#!/usr/bin/env bash
# The Autobahn test suite against internal/ws and internal/transport.
#   run.sh quick   all sections, with a sample of 12 and 13 (the default)
#   run.sh full    all cases
# It requires Go and Python with venv. The reports are in artifacts/autobahn.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PYTHONDONTWRITEBYTECODE=1
readonly mode=${1:-quick}
case $mode in
  quick) readonly limit=170s ;;
  full) readonly limit=2h ;;
  *) echo "usage: $0 [quick|full]" >&2; exit 2 ;;
esac
readonly out=$PWD/../../artifacts/autobahn
rm -rf "$out"
mkdir -p "$out"

# The suite, made again when what makes it has changed.
made=$(cat requirements.txt suite.txt port.py | sha256sum)
if [[ $(cat .venv/made 2>/dev/null) != "$made" ]]; then
  rm -rf .venv
  python3 -m venv .venv
  pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps)
  "${pip[@]}" --requirement requirements.txt
  "${pip[@]}" --no-build-isolation --use-pep517 --no-compile --requirement suite.txt
  .venv/bin/python port.py .venv/lib/python3*/site-packages
  echo "$made" >.venv/made
fi

# The server ends with its standard input, so that no orphan remains.
go build -buildvcs=false -o "$out/server" ./server
coproc server { exec "$out/server" 2>"$out/server.log"; }
readonly pid=$server_PID
read -r -u "${server[0]}" address
status=0
timeout "$limit" .venv/bin/python fuzz.py "$mode" "$address" "$out" || status=$?
((status != 124)) || echo "autobahn: not done after $limit"
kill "$pid"
wait "$pid" || { echo "the server ended with status $?"; status=1; }
if [[ -s $out/server.log ]]; then
  cat "$out/server.log"
  status=1
fi
exit "$status"
