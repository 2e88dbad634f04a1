#!/usr/bin/env bash
# Proof that the README's two commands work on a machine that has only what the README names: a minimal Debian in a chroot,
# with Python, make and git, in which this checkout is set up, demonstrated and tested. Says how long each step took.
#
#   fresh_machine.sh [COMMAND...]     default: make demo, then make test
#
#   FRESH_SUITE=bookworm   the Debian release
#   FRESH_ROOT=...         where the chroot is made; it is removed afterwards unless FRESH_KEEP=1
#
# Needs root, debootstrap and about 6 GB of disk. The chroot shares this machine's kernel, network and
# package mirror; FRESH_MIRROR names another, and debootstrap's own default is used where neither is known.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
suite=${FRESH_SUITE:-bookworm}
root=${FRESH_ROOT:-/var/tmp/upkeep-fresh.$$}
own_mirror() { # the one that this machine uses; the second place may be the only one, and either may be missing
  grep -hoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1 | tr -d ' ' || true
}
mirror=${FRESH_MIRROR:-$(own_mirror)}

[ "$(id -u)" = 0 ] || {
  echo "fresh: a chroot needs root" >&2
  echo "HINT: sudo make fresh" >&2
  exit 1
}
command -v debootstrap >/dev/null || {
  echo "fresh: debootstrap is not installed" >&2
  echo "HINT: apt-get install debootstrap" >&2
  exit 1
}
[ ! -e "$root" ] || {
  echo "fresh: $root is there already" >&2
  echo "HINT: remove it, or name another folder in FRESH_ROOT" >&2
  exit 1
}

mounted() { awk -v root="$root/" 'index($2, root) == 1 { print $2 }' /proc/mounts | sort -r; }
clean_up() {
  local place pid
  for pid in /proc/[0-9]*; do # what was left running in there, and nothing else
    if [ "$(readlink "$pid/root" 2>/dev/null)" = "$root" ]; then kill -KILL "${pid#/proc/}" 2>/dev/null || true; fi
  done
  for place in $(mounted); do umount "$place" || umount --lazy "$place"; done
  if [ -n "$(mounted)" ]; then
    echo "fresh: $root still has mounts and is left there" >&2
  elif [ -z "${FRESH_KEEP:-}" ]; then
    rm -rf --one-file-system "$root"
  fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM

times=()
step() { # TITLE COMMAND...
  local title=$1 begun=$SECONDS
  shift
  echo "== fresh: $title"
  "$@" || {
    echo "fresh: $title failed after $((SECONDS - begun)) s" >&2
    exit 1
  }
  times+=("$(printf '%5d s  %s' $((SECONDS - begun)) "$title")")
}

in_there() { # a login's environment, not this one's
  local passed=()
  for name in http_proxy https_proxy no_proxy PIP_INDEX_URL PIP_CERT UV_INDEX_URL UV_DEFAULT_INDEX SSL_CERT_FILE; do
    if [ -n "${!name:-}" ]; then passed+=("$name=${!name}"); fi
  done
  chroot "$root" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    "${passed[@]}" bash -euc "cd /root/upkeep && $*"
}

make_machine() {
  debootstrap --variant=minbase --include=ca-certificates,python3,make,git "$suite" "$root" ${mirror:+"$mirror"} >"$root.log" 2>&1 || {
    tail -5 "$root.log" >&2
    return 1
  }
  rm -f "$root.log"
  # What a real machine has and a chroot hasn't: devices, /proc, this machine's resolver and certificates.
  mount --bind /dev "$root/dev"
  mount --make-private "$root/dev" # or what is mounted below it would be mounted on this machine as well
  mount -t devpts devpts "$root/dev/pts" 2>/dev/null || mount --bind /dev/pts "$root/dev/pts"
  mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm" 2>/dev/null || true
  mount -t proc proc "$root/proc"
  mount --bind /sys "$root/sys"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  cp /etc/hosts "$root/etc/hosts"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  for settings in /etc/apt/apt.conf.d/*proxy* /etc/pip.conf; do
    if [ -e "$settings" ]; then cp "$settings" "$root$settings"; fi
  done
}
copy_checkout() { # what a clone would have, uncommitted changes included
  mkdir "$root/root/upkeep"
  (cd "$source" && git ls-files --cached --others --exclude-standard -z | xargs -0 ls -d 2>/dev/null | tar --create --files-from=- --file=-) |
    tar --extract --directory="$root/root/upkeep" --file=-
  chroot "$root" git -C /root/upkeep init --quiet
}

step "a minimal $suite with python3, make and git" make_machine
step "a copy of the checkout" copy_checkout
if [ $# -gt 0 ]; then
  step "$*" in_there "$*"
else
  step "make demo (the first set-up included)" in_there make demo
  step "make test" in_there make test
fi
echo "== fresh: how long it took"
printf '%s\n' "${times[@]}"
