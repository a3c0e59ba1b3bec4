#!/bin/sh
# Installs tokd: `install.sh system`, `user`, `remove`, `remove-user`; called by make. Run again, it upgrades.
# What a person may have changed (configuration, secrets, the broker's files) is left as it is.
set -eu
umask 022

SRC=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=${PYTHON:-/usr/bin/python3}
PREFIX=${PREFIX:-/opt/tokd}
BIN=${BIN:-/usr/local/bin}
UNITS=${UNITS:-/etc/systemd/system}
ETC=/etc/tokd
STATE=/var/lib/tokd
MEDIA=/srv/tokd
BROKER=/etc/mosquitto

say() { echo "tokd: $*"; }
die() { say "$*" >&2; exit 1; }

# Does systemd run here? In an image that is being built it does not, and `make install` works all the same.
has_systemd() { [ -d /run/systemd/system ]; }

# Builds a new environment beside the old one and changes over at the end: what fails leaves the old one in use.
build() { # build FOLDER
    "$PYTHON" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' ||
        die "$PYTHON must be Python 3.11 or newer with venv (apt install python3-venv); set PYTHON to another one"
    folder=$1
    new="$folder/venv-$(date +%Y%m%d-%H%M%S)-$$"
    work=$(mktemp -d)
    trap 'rm -rf "$work" "$new"' EXIT
    mkdir -p "$folder"
    say "building $new"
    "$PYTHON" -m venv "$new"
    sh "$SRC/requirements/install.sh" "$new" "$SRC/requirements/run.txt"
    # A copy, because setuptools writes into the tree that it builds.
    cp -R "$SRC/daemon" "$SRC/adapters" "$SRC/config" "$SRC/pyproject.toml" "$SRC/README.md" "$SRC/LICENSE" "$work"
    "$new/bin/pip" install -q --disable-pip-version-check --no-deps --no-build-isolation "$work"
    "$new/bin/tokd" --version
    old=$(readlink "$folder/venv" || true)
    ln -sfn "$(basename "$new")" "$folder/venv.new"
    mv -T "$folder/venv.new" "$folder/venv"
    trap - EXIT
    rm -rf "$work"
    # The old one stays until the next upgrade: a daemon that runs still imports from it, and one can go back to it.
    for found in "$folder"/venv-*; do
        case $(basename "$found") in "$(basename "$new")" | "$old") ;; *) rm -rf "$found" ;; esac
    done
}

write() { # write FILE MODE OWNER, content from stdin, unless the file is there
    if [ -e "$1" ]; then
        cat >/dev/null
        say "$1 is there already and stays as it is"
        return 1
    fi
    (umask 077 && cat >"$1")
    chown "$3" "$1"
    chmod "$2" "$1"
}

install_units() {
    for unit in tokd.service tokd-xvfb.service; do
        sed "s|/opt/tokd/|$PREFIX/|g" "$SRC/systemd/$unit" >"$UNITS/$unit"
    done
    for script in tokd tokd-secret; do
        sed "s|/opt/tokd/|$PREFIX/|g" "$SRC/systemd/$script" >"$BIN/$script.new"
        chmod 755 "$BIN/$script.new"
        mv "$BIN/$script.new" "$BIN/$script"
    done
}

install_config() {
    password=
    if write "$ETC/tokd.toml" 640 root:tokd <"$SRC/systemd/tokd.toml"; then
        install_broker
    fi
    if [ ! -e "$ETC/credentials/fernet-keys" ]; then
        head -c32 /dev/urandom | base64 | tr +/ -_ | "$BIN/tokd-secret" fernet-keys
        say "made the key that seals tokens; print it for a safe place: tokd-secret --show fernet-keys"
    fi
    if [ -n "$password" ]; then
        printf '%s\n' "$password" | "$BIN/tokd-secret" mqtt-password
    fi
}

# Only where the broker has no rules of its own yet: whoever has set one up must not find it changed.
install_broker() {
    if ! command -v mosquitto >/dev/null || [ ! -d "$BROKER/conf.d" ]; then
        say "there is no mosquitto here; see [mqtt] in $ETC/tokd.toml for a broker elsewhere"
        return
    fi
    if ls "$BROKER"/conf.d/*.conf >/dev/null 2>&1 ||
        grep -Eq '^ *(listener|port|acl_file|password_file|plugin)' "$BROKER/mosquitto.conf"; then
        say "mosquitto is set up already; add the rules that \`tokd acl\` prints to its own, and see [mqtt] in $ETC/tokd.toml"
        return
    fi
    password=$(head -c24 /dev/urandom | base64 | tr +/ -_)
    sed -i 's|^#\(host = "127.0.0.1"\)|\1|; s|^#\(username = "tokd-main"\)|\1|' "$ETC/tokd.toml"
    "$PREFIX/bin/tokd" --config "$ETC/tokd.toml" acl | write "$BROKER/tokd.acl" 640 root:mosquitto || true
    printf 'tokd-main:%s\n' "$password" >"$BROKER/tokd.users.new"
    mosquitto_passwd -U "$BROKER/tokd.users.new"
    chown root:mosquitto "$BROKER/tokd.users.new"
    chmod 640 "$BROKER/tokd.users.new"
    mv "$BROKER/tokd.users.new" "$BROKER/tokd.users"
    write "$BROKER/conf.d/tokd.conf" 644 root:root <"$SRC/systemd/mosquitto.conf"
    say "mosquitto listens on this machine with tokd's rules ($BROKER/conf.d/tokd.conf)"
    if has_systemd; then systemctl try-restart mosquitto.service; fi
}

install_system() {
    [ "$(id -u)" = 0 ] || die "installing for the machine needs root: sudo make install (or: make install-user)"
    getent group tokd >/dev/null || groupadd --system tokd
    getent passwd tokd >/dev/null ||
        useradd --system --gid tokd --home-dir "$STATE" --no-create-home --shell /usr/sbin/nologin tokd
    build "$PREFIX"
    ln -sfn venv/bin "$PREFIX/bin"
    mkdir -p "$PREFIX/share"
    cp "$SRC/docs/operations.md" "$PREFIX/share/"
    install -d -m 750 -o root -g tokd "$ETC"
    install -d -m 700 -o root -g root "$ETC/credentials"
    install -d -m 700 -o tokd -g tokd "$STATE"
    # Members of the group tokd put their videos here.
    [ -d "$MEDIA" ] || install -d -m 2770 -o tokd -g tokd "$MEDIA"
    install_units
    install_config
    if has_systemd; then
        systemctl daemon-reload
        systemctl try-restart tokd.service
    fi
    say "installed. Look at $ETC/tokd.toml, then: systemctl enable --now tokd"
}

install_user() {
    [ "$(id -u)" != 0 ] || die "this is for one person's desktop; root installs with make install"
    data="${XDG_DATA_HOME:-$HOME/.local/share}/tokd"
    config="${XDG_CONFIG_HOME:-$HOME/.config}"
    build "$data"
    mkdir -p "$config/tokd" "$config/systemd/user" "$HOME/.local/bin"
    mkdir -p "$data/state"
    chmod 700 "$data/state"
    sed "s|%h/.local/share/tokd|$data|" "$SRC/systemd/user/tokd.service" >"$config/systemd/user/tokd.service"
    if [ ! -e "$config/tokd/tokd.toml" ]; then
        sed "s|/var/lib/tokd/profiles|$data/profiles|; s|/var/lib/tokd|$data/state|; s|/srv/tokd|$HOME/Videos|; /^\[control\]/,/^$/d; s|^# Secrets do not.*|# Secrets stand in files of their own (password_file, client_secret_file), chmod 600.|" \
            "$SRC/systemd/tokd.toml" >"$config/tokd/tokd.toml"
        chmod 600 "$config/tokd/tokd.toml"
    fi
    printf '#!/bin/sh\nexec %s --config %s "$@"\n' "'$data/venv/bin/tokd'" "'$config/tokd/tokd.toml'" >"$HOME/.local/bin/tokd"
    chmod 755 "$HOME/.local/bin/tokd"
    if has_systemd; then systemctl --user daemon-reload || say "no user manager answers here; log in to your desktop"; fi
    say "installed. Look at $config/tokd/tokd.toml, then: systemctl --user enable --now tokd"
}

remove_system() {
    [ "$(id -u)" = 0 ] || die "removing needs root: sudo make uninstall"
    if has_systemd; then
        systemctl disable --now tokd.service tokd-xvfb.service || true
    fi
    rm -f "$UNITS/tokd.service" "$UNITS/tokd-xvfb.service" "$BIN/tokd" "$BIN/tokd-secret"
    rm -rf "$PREFIX"
    if has_systemd; then systemctl daemon-reload; fi
    say "removed. What is yours stays: $STATE (database, profiles), $ETC and $UNITS/tokd.service.d (settings, secrets),"
    say "$MEDIA (videos), the user tokd, and mosquitto's tokd.acl, tokd.users and conf.d/tokd.conf in $BROKER"
}

remove_user() {
    data="${XDG_DATA_HOME:-$HOME/.local/share}/tokd"
    config="${XDG_CONFIG_HOME:-$HOME/.config}"
    if has_systemd; then systemctl --user disable --now tokd.service || true; fi
    rm -f "$config/systemd/user/tokd.service" "$HOME/.local/bin/tokd"
    rm -rf "$data/venv" "$data"/venv-*
    say "removed. What is yours stays: $data (database, profiles) and $config/tokd (settings)"
}

case ${1:-} in
system) install_system ;;
user) install_user ;;
remove) remove_system ;;
remove-user) remove_user ;;
*) die "usage: install.sh system|user|remove|remove-user" ;;
esac
