#!/usr/bin/env bash
# Installs Debian packages as root without letting them start a service.
#
#   apt_install.sh PACKAGE...
#
# Debian asks /usr/sbin/policy-rc.d before it starts or restarts a service. Where there is none, one that refuses stands
# there while apt-get works. One that is there already stays: whoever put it there has decided.
set -euo pipefail
policy=/usr/sbin/policy-rc.d
ours=no

if [ -e "$policy" ]; then
  echo "setup: $policy is left as it is; it says whether the new services start"
else
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  ours=yes
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || echo "setup: apt-get update failed; going on with the package lists that are there" >&2
if ! apt-get install -qq --yes -o Dpkg::Use-Pty=0 --no-install-recommends "$@"; then
  echo "setup: apt-get could not install $*" >&2
  echo "HINT: its own message is above; 'universe' must be enabled on Ubuntu" >&2
  exit 1
fi
if [ "$ours" = yes ] && [[ " $* " == *-server* || " $* " == *" postgresql "* ]]; then
  echo "setup: the new services were not started; the next boot would start them, unless you run"
  echo "setup:   systemctl disable mariadb postgresql redis-server"
fi
