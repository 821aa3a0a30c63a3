# Sourced by run, test and install: Debian packages, a Python that is new enough, a virtual environment.
# shellcheck shell=bash

say() { printf '%s\n' "$@" >&2; }  # a line for each argument
fail() { say "$@"; exit 1; }

# may_be_root: we are root, or sudo will make us so.
may_be_root() {
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; }
}
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# need_packages WHAT PACKAGE...: installs Debian packages, or ends with the line to type.
need_packages() {
    local what=$1
    shift
    command -v apt-get >/dev/null || fail "$what: missing. On Debian it is in: $*"
    may_be_root || fail "$what: missing, and installing it takes root. Type:" "" \
        "    sudo apt-get install $*" "" "and start scripts/$(basename "$0") again."
    say "Installing $what: $*"
    as_root apt-get update -qq >/dev/null 2>&1 || true  # one dead source must not stop the rest
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        fail "apt-get could not install: $*"
}

# The oldest packages of GnuTLS whose DTLS is safe; appliance/southbound/dtls/gnutls.py refuses older ones.
_gnutls_packages() {
    printf '%s\n' "libgnutls30 3.7.9-2+deb12u7" "libgnutls30t64 3.8.9-3+deb13u4"
}

# _gnutls: the installed package of GnuTLS, its version and the oldest that will do, or nothing.
_gnutls() {
    local package minimum version
    while read -r package minimum; do
        version=$(dpkg-query -W -f='${db:Status-Abbrev}${Version}' "$package" 2>/dev/null) || continue
        case $version in ii*) printf '%s %s %s\n' "$package" "${version#ii }" "$minimum"; return 0 ;; esac
    done < <(_gnutls_packages)
    return 1
}

# ready_gnutls: GnuTLS, new enough for DTLS. Where it cannot be had this only says so: all the rest works without,
# and the server keeps its DTLS port closed.
ready_gnutls() {
    local package version minimum
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || return 0
    if read -r package version minimum < <(_gnutls); then
        ! dpkg --compare-versions "$version" ge "$minimum" || return 0
    else
        package=libgnutls30 version="" minimum=""
        ! apt-cache show libgnutls30t64 >/dev/null 2>&1 || package=libgnutls30t64
    fi
    if may_be_root; then
        if [ -n "$version" ]; then say "Upgrading $package $version, for DTLS"; else say "Installing $package, for DTLS"; fi
        as_root apt-get update -qq >/dev/null 2>&1 || true
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null || true
    fi
    if read -r package version minimum < <(_gnutls) && dpkg --compare-versions "$version" ge "$minimum"; then
        return 0
    fi
    if [ -n "$version" ]; then version="$version is too old"; else version="is missing"; fi
    say "GnuTLS ($package) $version, so devices cannot connect with DTLS. Type:" "" \
        "    sudo apt-get update && sudo apt-get install $package" ""
}

# The versions that pyproject.toml allows.
_new_enough() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }
_makes_venvs() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# find_python: sets PYTHON to an interpreter that is new enough and can make virtual environments.
find_python() {
    local candidate old=""
    local candidates=(${PYTHON:+"$PYTHON"} python3 /usr/bin/python3 python3.13 python3.12 python3.11)
    for candidate in "${candidates[@]}"; do
        command -v "$candidate" >/dev/null || continue
        if ! _new_enough "$candidate"; then
            old=$("$candidate" -V 2>&1) || old="a broken $candidate"
        elif _makes_venvs "$candidate"; then
            PYTHON=$(command -v "$candidate")
            return 0
        fi
    done
    if [ -n "$old" ] && ! _new_enough /usr/bin/python3; then
        fail "Homard Edge needs Python 3.11, 3.12 or 3.13, and this machine has $old." \
            "Debian 12 (bookworm) and 13 (trixie) bring the right one; so does Raspberry Pi OS since October 2023." \
            "If there is another one here, name it: PYTHON=/path/to/python3.12 scripts/$(basename "$0")"
    fi
    [ -z "${_asked_for_python:-}" ] || fail "Python with the venv module is missing even after installing python3-venv."
    _asked_for_python=yes
    need_packages "Python with virtual environments" python3 python3-venv
    find_python
}

# make_venv FOLDER: a working virtual environment there, made anew when its interpreter is gone.
make_venv() {
    if [ -x "$1/bin/python" ] && _new_enough "$1/bin/python" && "$1/bin/python" -c 'import pip' 2>/dev/null; then
        return 0
    fi
    find_python
    say "Making a virtual environment in $1 with $("$PYTHON" -V)"
    "$PYTHON" -m venv --clear "$1" || fail "The virtual environment could not be made in $1."
}

# pip_install VENV ARGUMENT...: pip, quiet unless it fails.
pip_install() {
    local venv=$1
    shift
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" ||
        fail "pip could not install the Python packages; its message is above." \
            "The first start needs a way to the Python package index; later ones do not."
}

# ready_venv REPOSITORY EXTRA: REPOSITORY/.venv with the project in it; does nothing when all is there.
# EXTRA is "" or "[test]"; the project is installed in place, so a git pull needs no second installation.
ready_venv() {
    local venv="$1/.venv" extra=$2 stamp wanted
    make_venv "$venv"
    stamp="$venv/installed${extra:+-test}"
    wanted=$({ cat "$1/pyproject.toml"; "$venv/bin/python" -V; printf '%s\n' "$1"; } | sha256sum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        say "Installing Homard Edge${extra:+ with what its tests need} into $venv"
        pip_install "$venv" --editable "$1$extra"
        printf '%s\n' "$wanted" | tee "$stamp" >"$venv/installed"
    fi
}
