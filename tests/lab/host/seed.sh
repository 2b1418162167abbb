# seed.sh - runs once inside each host's own root, before its init: names it, then plants the drift items in ITEMS.
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
echo "$HN" >/etc/hostname; printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$HN" >/etc/hosts
printf 'nameserver 10.77.0.53\nsearch trust.test\n' >/etc/resolv.conf
[ -e /etc/ssh/ssh_host_ed25519_key ] || cp /run/lab/ssh_host_ed25519_key* /etc/ssh/
chmod 600 /etc/ssh/ssh_host_ed25519_key
for u in root scan; do
  h=$(getent passwd $u | cut -d: -f6); install -d -m 700 -o $u -g $u $h/.ssh
  printf '%s\n' "$PUBKEY" >$h/.ssh/authorized_keys; chown $u: $h/.ssh/authorized_keys; chmod 600 $h/.ssh/authorized_keys
done
T=/etc/ssh/sshd_config
[ "$LOGIN" = root ] && sed -i 's/^PermitRootLogin.*/PermitRootLogin prohibit-password/' $T
sshset() { sed -i -e "1i $1 $2" -e "/^$1 /d" $T; }
policy() { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; }   # no daemon starts while seeding
purge() { dpkg --purge --force-depends "$@" >/dev/null 2>&1; }
adduser1() { id "$1" >/dev/null 2>&1 || useradd -m -s /bin/bash "$1"; }
C=/etc/sysctl.d/90-trust.conf
ctl() { sed -i "s/^$1 = .*/$1 = $2/" $C; }
listed() { sed -i "s/^Date: .*/Date: $(date -u -d "$1" '+%a, %d %b %Y %T UTC')/" /srv/security/dists/*/Release /var/lib/apt/lists/_srv_security*_Release; }
listed '-1 day'
waits() { sed -i "/^Package: $1\$/,/^\$/s/^Version: \\(.*\\)~\$/Version: \\1+trust1/" /srv/security/dists/*/main/binary-amd64/Packages; }
for i in $ITEMS; do case $i in
  ssh-root) sshset PermitRootLogin yes;; ssh-password) sshset PasswordAuthentication yes;;
  ssh-emptypw) sshset PermitEmptyPasswords yes;; ssh-x11) sshset X11Forwarding yes;;
  ssh-maxauth) sshset MaxAuthTries 10;; ssh-idle) sshset ClientAliveInterval 0;; ssh-grace) sshset LoginGraceTime 600;;
  ssh-userenv) sshset PermitUserEnvironment yes;; ssh-loglevel) sshset LogLevel QUIET;; ssh-banner) sshset Banner none;;
  ssh-cbc) sshset Ciphers aes256-ctr,aes128-cbc,3des-cbc;;
  ssh-match) printf '\nMatch Address 10.77.99.0/24\n    PermitRootLogin yes\n' >>/etc/ssh/sshd_config;;
  ssh-dropin) printf 'PasswordAuthentication yes\n' >/etc/ssh/sshd_config.d/10-vendor.conf; chmod 600 /etc/ssh/sshd_config.d/10-vendor.conf;;
  sshd-perm) chmod 666 /etc/ssh/sshd_config;;
  sysctl-redirects) ctl net.ipv4.conf.all.accept_redirects 1; ctl net.ipv4.conf.all.send_redirects 1;;
  sysctl-forward) ctl net.ipv4.ip_forward 1;;
  sysctl-source) ctl net.ipv4.conf.all.accept_source_route 1;;
  sysctl-runtime) echo net.ipv4.conf.all.rp_filter=0 >>/run/lab/late;;
  sysctl-file) echo 'net.ipv4.tcp_syncookies = 0' >/etc/sysctl.d/99-zz-local.conf; echo net.ipv4.tcp_syncookies=1 >>/run/lab/late;;
  kptr) ctl kernel.kptr_restrict 0; echo kernel.kptr_restrict=0 >>/run/lab/late;;
  aslr) ctl kernel.randomize_va_space 0; echo kernel.randomize_va_space=0 >>/run/lab/late;;
  suid-dump) ctl fs.suid_dumpable 2; echo fs.suid_dumpable=2 >>/run/lab/late;;
  no-ufw) purge ufw; rm -rf /etc/ufw /etc/default/ufw;;
  ufw-off) sed -i 's/^ENABLED=.*/ENABLED=no/' /etc/ufw/ufw.conf;;
  ufw-accept) sed -i 's/^DEFAULT_INPUT_POLICY=.*/DEFAULT_INPUT_POLICY="ACCEPT"/' /etc/default/ufw;;
  ntp-wrong) sed -i 's/^server .*//; 1i pool 0.pool.ntp.org iburst' /etc/chrony/chrony.conf;;
  no-chrony) purge chrony; rm -rf /etc/chrony;;
  tz-wrong) ln -sf /usr/share/zoneinfo/America/New_York /etc/localtime; echo America/New_York >/etc/timezone;;
  old-agent) dpkg -i /srv/apt/trust-agent_1.0_all.deb >/dev/null 2>&1;;
  telnetd) policy; apt-get -qq -y --no-install-recommends install telnet inetutils-telnetd >/dev/null 2>&1; rm -f /usr/sbin/policy-rc.d;;
  no-auditd) purge auditd; rm -rf /etc/audit;;
  no-rsyslog) purge rsyslog; rm -rf /etc/rsyslog.d /etc/rsyslog.conf;;
  no-autoupdate) sed -i 's/"1"/"0"/' /etc/apt/apt.conf.d/20auto-upgrades;;
  update-waits) listed '-20 days'; waits sudo;;
  extra-sudoer) adduser1 jsmith; usermod -aG sudo jsmith;;
  nopasswd) adduser1 jsmith; echo 'jsmith ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/99-jsmith; chmod 440 /etc/sudoers.d/99-jsmith;;
  sudoers-perm) chmod 666 /etc/sudoers.d/10-trust; chmod 644 /etc/sudoers;;
  no-usepty) : >/etc/sudoers.d/10-trust;  sed -i '/use_pty/d' /etc/sudoers;;
  uid0) echo 'toor:x:0:0::/root:/bin/bash' >>/etc/passwd; echo 'toor:*:20000:0:99999:7:::' >>/etc/shadow;;
  empty-pw) adduser1 kiosk; usermod -p '' kiosk;;
  old-pw) chage -d "$(date -d '-900 days' +%F)" tech1;;
  passmax) sed -i -E 's/^(PASS_MAX_DAYS\s+).*/\199999/' /etc/login.defs;;
  minlen) sed -i 's/^minlen.*/minlen = 6/' /etc/security/pwquality.conf;;
  umask) sed -i -E 's/^(UMASK\s+).*/\1022/' /etc/login.defs;;
  no-tmout) rm -f /etc/profile.d/tmout.sh;;
  shadow-perm) chmod 644 /etc/shadow;;
  cron-writable) echo '0 3 * * * root /bin/true' >/etc/cron.d/backup; chmod 666 /etc/cron.d/backup;;
  suid-shell) cp /bin/dash /usr/local/bin/maint; chmod 4755 /usr/local/bin/maint;;
  tmp-exec) sed -i 's#^tmpfs /tmp .*#tmpfs /tmp tmpfs defaults,nosuid,nodev 0 0#' /etc/fstab; mount -o remount,exec /tmp;;
  listener) printf '[Unit]\nDescription=old intranet\n[Service]\nExecStart=/usr/bin/python3 -S -c "import socket,time;s=socket.socket();s.setsockopt(1,2,1);s.bind((str(0),8081));s.listen();time.sleep(1e9)"\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/intranet.service; ln -sf /etc/systemd/system/intranet.service /etc/systemd/system/multi-user.target.wants/;;
  dns-wrong) echo 'nameserver 8.8.8.8' >/etc/resolv.conf;;
  no-remote-log) rm -f /etc/rsyslog.d/60-trust.conf;;
  os-old) printf 'PRETTY_NAME="Debian GNU/Linux 10 (buster)"\nNAME="Debian GNU/Linux"\nVERSION_ID="10"\nVERSION="10 (buster)"\nVERSION_CODENAME=buster\nID=debian\n' >/etc/os-release; echo 10.13 >/etc/debian_version;;
  no-sudo) rm -f /etc/sudoers.d/20-scan;;
  noisy) sed -i '1i echo "*** Welcome to Hillside School server. Term dates: see intranet. ***"' /home/scan/.bashrc; printf 'echo motd-noise\n' >/etc/ssh/sshrc;;
  slow) sed -i '1i ForceCommand sleep 8; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"' $T;;
  hang) sed -i '1i ForceCommand exec sleep 1000000' $T;;
  flood) sed -i '1i ForceCommand head -c 100000000 /dev/urandom; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"' $T;;
  down) rm -f /etc/systemd/system/multi-user.target.wants/ssh.service /etc/systemd/system/sshd.service; ln -sf /dev/null /etc/systemd/system/ssh.service; touch /run/lab/nossh;;
  keychange) rm -f /etc/ssh/ssh_host_ed25519_key*; ssh-keygen -q -t ed25519 -N '' -C other -f /etc/ssh/ssh_host_ed25519_key;;
  busybox-sh) rm -f /sbin/sysctl /usr/sbin/sysctl /usr/bin/ss /bin/ss /usr/bin/chronyc;;
  -) ;; *) echo "unknown drift item $i" >&2; exit 3;;
esac; done
exit 0
