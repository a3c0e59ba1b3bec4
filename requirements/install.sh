#!/bin/sh
# `install.sh VENV LIST`: installs a list of pins into an environment. Nothing comes in whose hash is not in a list.
# pip's options are given here and nowhere else: for make, for systemd/install.sh, and for the test of them.
set -eu
venv=$1
list=$2

pins() { # pins FILE, further options
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: "$@"
}

# What is not a wheel is built with the setuptools of build.txt: left to itself pip would fetch any, without a hash.
pins -r "$(dirname "$list")/build.txt"
# --use-pep517, because the pip of Debian 12 would run setup.py the old way.
pins -r "$list" --no-build-isolation --use-pep517 --no-binary undetected-chromedriver
