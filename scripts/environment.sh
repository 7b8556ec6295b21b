# Sourced by the other scripts: makes .venv where it is missing or older than the lists of packages.
# Usage: make_environment EXTRA      (an extra of pyproject.toml, or nothing)

make_environment() {
    local extra="${1:-}" want stamp=".venv/.installed-${1:-core}"
    want="$(cat pyproject.toml constraints.txt | cksum)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
        return
    fi
    local target="."
    [ -n "$extra" ] && target=".[$extra]"
    echo "making the environment in .venv (once; a minute or two) ..."
    if command -v uv >/dev/null 2>&1; then
        [ -d .venv ] || uv venv --quiet --python ">=3.11" .venv
        uv pip install --quiet --python .venv/bin/python --constraint constraints.txt --editable "$target"
    else
        python3 - <<'PYTHON' || return 1
import sys
if sys.version_info < (3, 11):
    sys.exit(f"Python 3.11 or newer is needed; python3 here is {sys.version.split()[0]}. Install a newer one, or uv.")
PYTHON
        [ -d .venv ] || python3 -m venv .venv
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable "$target"
    fi
    echo "$want" >"$stamp"
}
