# Sourced by the other scripts, which have set `root` to the project's folder.
#
#   make_venv serve    .venv with the package and what it needs to run
#   make_venv dev      the same and what the tests and checks need
#
# A stamp remembers what was installed, so that a second call costs milliseconds.

venv="$root/.venv"

say() { printf '%s\n' "$*" >&2; }

newest_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "Postroom needs Python 3.11 or later, and found none on the PATH."
    return 1
}

# Debian ships python3 without ensurepip unless python3-venv is installed: its pip can then fill the venv from outside.
create_venv() {
    local python
    python="$(newest_python)" || return 1
    rm -rf "$venv"
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv "$venv"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --without-pip "$venv"
        "$python" -m pip --python "$venv/bin/python" install --quiet pip
    else
        say "$python has neither ensurepip nor pip. On Debian and Ubuntu: apt install python3-venv"
        return 1
    fi
}

# The stamp of one set of packages; the dev set holds the serve set too.
stamp_is_current() {
    [ -f "$venv/.stamp-$1" ] && [ "$(<"$venv/.stamp-$1")" = "$wanted_stamp" ]
}

make_venv() {
    local extras="$1" package="$root" wanted_stamp
    wanted_stamp="$(cksum <"$root/pyproject.toml") $root"
    if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null; then
        if stamp_is_current dev || { [ "$extras" = serve ] && stamp_is_current serve; }; then
            return
        fi
    else
        say "Making a virtual environment in $venv ..."
        create_venv || return 1
    fi
    [ "$extras" = dev ] && package="$root[dev]"
    say "Installing what Postroom needs (first time only; a minute or two) ..."
    PYTHONWARNINGS=ignore "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$package" || return 1
    printf '%s' "$wanted_stamp" >"$venv/.stamp-$extras"
}
