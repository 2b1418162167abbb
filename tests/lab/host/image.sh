# image.sh - the golden image: one Debian root file system that every host of the lab is a copy-on-write copy of.
# Sourced by host-lab.sh; sets BASE, defines build. The image's name carries a hash of what it is made from, so that a
# changed script gives a new image, and an unchanged one is used again for months.

SUITE=${SPIRITLEVEL_LAB_SUITE:-bookworm}
PACKAGES=openssh-server,sudo,python3-minimal,python3-apt,systemd,systemd-sysv,dbus,procps,iproute2,chrony,nftables,iptables,ufw
PACKAGES+=,cron,rsyslog,unattended-upgrades,ca-certificates,kmod,libpam-pwquality,auditd,apparmor,tzdata,e2fsprogs,passwd,login,less
# A package source inside the image, so that drift and remediation (install, upgrade, purge) work with no network.
OFFLINE="ufw iptables libip4tc2 libip6tc2 libxtables12 chrony auditd libauparse0 rsyslog libestr0 libfastjson4 liblognorm5
  unattended-upgrades libpam-pwquality apparmor cron cron-daemon-common"
OFFLINE_NEW="telnet inetutils-telnetd nis tftp rsh-client"
IMAGE_ID=$(cat "$HERE/image.sh" "$HERE/golden.sh" <(echo "$SUITE") | sha256sum | cut -c1-12)
BASE=$CACHE/golden-$IMAGE_ID

mirror() { # the mirror that this machine's own apt uses
  [ -n "${SPIRITLEVEL_LAB_MIRROR:-}" ] && { echo "$SPIRITLEVEL_LAB_MIRROR"; return; }
  local m
  m=$(apt-get indextargets --format '$(CODENAME)|$(COMPONENT)|$(ORIGIN)|$(SITE)' 2>/dev/null \
    | awk -F'|' -v s="$SUITE" '$1 == s && $2 == "main" && $3 == "Debian" {print $4; exit}')
  [ -n "$m" ] || { echo "no package source is set up for apt" >&2; return 1; }; echo "$m"
}

build() {
  [ -e "$BASE/.done" ] && return 0
  mkdir -p "$CACHE"
  exec 8>"$CACHE/lock"; flock 8
  if [ -e "$BASE/.done" ]; then exec 8>&-; return 0; fi
  local t0=$SECONDS mm tmp=$CACHE/build log=$CACHE/build.log b=$CACHE/build/root v old
  rm -rf "$tmp" "$BASE"; mkdir -p "$tmp"; : >"$log"
  if [ -z "$(ls -d "$CG_PARENT"/spiritlevel-lab* 2>/dev/null)" ]; then # nobody stands on an older image
    for old in "$CACHE"/golden-*; do [ -d "$old" ] && rm -rf "$old"; done
  fi
  mm=$(command -v mmdebstrap) || { # a plain Perl script: it need not be installed
    ( cd "$tmp" && { apt-get -o APT::Sandbox::User=root -qq download mmdebstrap || {
        apt-get -qq update; apt-get -o APT::Sandbox::User=root -qq download mmdebstrap; }; } ) >>"$log" 2>&1 \
      || die "cannot download mmdebstrap: see $log"
    dpkg -x "$tmp"/mmdebstrap_*.deb "$tmp/tools"; mm=$tmp/tools/usr/bin/mmdebstrap; }
  echo "host-lab: building the golden image (one time, about half a minute) ..." >&2
  PATH=$(dirname "$mm"):$PATH "$mm" --quiet --variant=minbase --skip=check/qemu --include="$PACKAGES" \
    "$SUITE" "$b" "$(mirror)" >>"$log" 2>&1 </dev/null || { tail -5 "$log" >&2; die "mmdebstrap failed: see $log"; }
  mkdir -p "$b/srv/apt" "$b/etc/apt/apt.conf.d"
  cp /etc/resolv.conf /etc/hosts "$b/etc/" 2>/dev/null
  apt-config dump Acquire 2>/dev/null | grep -i proxy >"$b/etc/apt/apt.conf.d/99build"
  { chroot "$b" apt-get -qq update
    chroot "$b" sh -c "cd /srv/apt && apt-get -o APT::Sandbox::User=root -qq download $(echo $OFFLINE)"
    chroot "$b" sh -c "apt-get -qq -y --no-install-recommends --download-only install $OFFLINE_NEW"
    mv "$b"/var/cache/apt/archives/*.deb "$b/srv/apt/"; } >>"$log" 2>&1 </dev/null || die "filling the package source failed: see $log"
  rm -f "$b/etc/apt/apt.conf.d/99build" "$b/etc/resolv.conf"; chroot "$b" apt-get clean
  for v in 1.0 2.0; do # the trust's own software, in an old and a current version
    mkdir -p "$tmp/ta/DEBIAN" "$tmp/ta/usr/share/trust-agent"; echo $v >"$tmp/ta/usr/share/trust-agent/version"
    printf 'Package: trust-agent\nVersion: %s\nArchitecture: all\nMaintainer: lab <lab@trust.test>\nDescription: lab package, for version checks\n' \
      $v >"$tmp/ta/DEBIAN/control"
    dpkg-deb -Zgzip --root-owner-group -b "$tmp/ta" "$b/srv/apt/trust-agent_${v}_all.deb" >/dev/null
  done
  ( cd "$b/srv/apt" && for f in *.deb; do
      dpkg-deb -f "$f"
      printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$f" "$(stat -c %s "$f")" "$(sha256sum "$f" | cut -d' ' -f1)"
    done >Packages )
  # a source of security updates that are all older than what is installed; seed.sh dates it
  local s="$b/srv/security/dists/$SUITE-security"; mkdir -p "$s/main/binary-amd64"
  chroot "$b" dpkg-query -W -f 'Package: ${Package}\nArchitecture: ${Architecture}\nVersion: ${Version}~\nFilename: none/${Package}.deb\nSize: 1\nSHA256: 0000000000000000000000000000000000000000000000000000000000000000\n\n' \
    sudo openssl tzdata rsyslog >"$s/main/binary-amd64/Packages"
  { printf 'Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nCodename: %s-security\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nArchitectures: amd64\nComponents: main\nSHA256:\n' "$SUITE"
    ( cd "$s" && printf ' %s %s main/binary-amd64/Packages\n' "$(sha256sum main/binary-amd64/Packages | cut -d' ' -f1)" "$(stat -c %s main/binary-amd64/Packages)" ); } >"$s/Release"
  rm -f "$b"/etc/apt/sources.list.d/*
  printf 'deb [trusted=yes] file:/srv/apt ./\ndeb [trusted=yes] file:/srv/security %s-security main\n' "$SUITE" >"$b/etc/apt/sources.list"
  chroot "$b" /bin/bash -eu <"$HERE/golden.sh" >>"$log" 2>&1 || { tail -20 "$log" >&2; die "configuring the golden image failed: see $log"; }
  touch "$b/.done"; mv "$b" "$BASE"; rm -rf "$tmp"
  echo "host-lab: golden image $(du -sh "$BASE" | cut -f1) in $((SECONDS - t0)) s" >&2
  exec 8>&-
}
