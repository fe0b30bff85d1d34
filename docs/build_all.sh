#!/usr/bin/env bash
# Builds the documentation without a network: the CLI reference is current, translations belong to their originals, links lead
# somewhere, and the site (default: build/site) holds together. Usage: docs/build_all.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-build/site}"
python="${PYTHON:-$(if [ -x .venv/bin/python ]; then echo .venv/bin/python; else echo python3; fi)}"
"$python" docs/generate_cli_docs.py --check
"$python" -m areal.cli.main docs sync --check
"$python" -m areal.cli.main docs links
"$python" -m areal.cli.main docs build --out "$out"
