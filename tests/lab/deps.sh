#!/bin/sh
# Installs what the labs and the browser tests need (Debian 12 or 13, root, no questions asked).
# Does nothing, quickly, when everything is there. Without root it says what will be skipped and exits 0.
#
#   tests/lab/deps.sh            all of it
#   tests/lab/deps.sh hosts      only what the host lab needs; also: directory, browser
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

hosts="bash iproute2 util-linux procps openssh-client openssh-server perl-base mmdebstrap"
directory="samba samba-dsdb-modules samba-vfs-modules ldb-tools winbind ldap-utils krb5-user
  libsasl2-modules-gssapi-mit python3-markdown python3-dnspython python3-ldap openssl attr slapd"
# Provisioning moved out of the package samba after Debian 12's first point releases: take these where they exist.
directory_maybe="samba-ad-provision samba-ad-dc"
browser="chromium fonts-dejavu-core fonts-liberation"
tools="postgresql libxml2-utils sudo"  # a store on PostgreSQL, the schema of JUnit, checking a sudoers file

case ${1:-all} in
  all) want="$hosts $directory $browser $tools" maybe=$directory_maybe ;;
  hosts) want=$hosts maybe= ;;
  directory) want=$directory maybe=$directory_maybe ;;
  browser) want=$browser maybe= ;;
  *) echo "usage: $0 [all|hosts|directory|browser]" >&2; exit 2 ;;
esac

absent() { # packages: prints those that are not installed
  have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p')
  for p in "$@"; do echo "$have" | grep -qxF -- "$p" || echo "$p"; done
}

if ! command -v dpkg-query >/dev/null; then
  echo "lab: this is not Debian: install samba (AD DC), openssh, iproute2, mmdebstrap and chromium yourself, or those tests are skipped"
  exit 0
fi
# shellcheck disable=SC2086  # the lists are words on purpose
missing=$(absent $want)
# shellcheck disable=SC2086
extra=$([ -z "$maybe" ] || absent $maybe)
if [ -z "$missing" ] && { [ -z "$extra" ] || [ -f /usr/share/samba/setup/provision.ldif ]; }; then exit 0; fi

if [ "$(id -u)" != 0 ]; then
  echo "lab: not root: the host lab and directory lab tests will be skipped, and browser tests too unless Chromium is there"
  exit 0
fi

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update || echo "lab: apt-get update had errors, trying with the package lists that are here" >&2
for p in $extra; do apt-cache show "$p" >/dev/null 2>&1 && missing="$missing $p"; done
missing=$(echo $missing)
[ -n "$missing" ] || exit 0

# The labs bring their own daemons: the packaged services must neither start now nor at the next boot.
services=
for p in $missing; do case $p in
  samba) services="$services smbd nmbd samba-ad-dc" ;;
  slapd) services="$services slapd" ;;
  winbind) services="$services winbind" ;;
  openssh-server) services="$services ssh" ;;
  postgresql) services="$services postgresql" ;;
esac; done
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
  trap 'rm -f $policy' EXIT
fi
echo "lab: installing $missing"
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null </dev/null || {
  echo "lab: apt-get could not install: $missing (run it by hand to see why)" >&2; exit 1; }
for s in $services; do deb-systemd-helper disable "$s.service" >/dev/null 2>&1 || true; done
exit 0
