# golden.sh - runs inside the new root file system: the good state that every drift item departs from.
# A host with no drift passes every Linux row that can be judged in a namespace.
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
apt-get -qq update
dpkg -i /srv/apt/trust-agent_2.0_all.deb
rm -f /etc/ssh/ssh_host_* /etc/machine-id; : >/etc/machine-id
# ssh
sed -i -E '/^(Include|X11Forwarding|KbdInteractiveAuthentication|PasswordAuthentication|PermitRootLogin|UsePAM)/d' /etc/ssh/sshd_config
cat >/tmp/head <<'E'
Include /etc/ssh/sshd_config.d/*.conf
PermitRootLogin no
PasswordAuthentication no
PermitEmptyPasswords no
KbdInteractiveAuthentication no
X11Forwarding no
MaxAuthTries 4
MaxSessions 10
MaxStartups 60:30:100
LoginGraceTime 60
ClientAliveInterval 300
ClientAliveCountMax 0
IgnoreRhosts yes
HostbasedAuthentication no
PermitUserEnvironment no
LogLevel VERBOSE
Banner /etc/issue.net
UseDNS no
Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr
MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512,hmac-sha2-256
UsePAM yes
E
cat /tmp/head /etc/ssh/sshd_config >/tmp/all; cat /tmp/all >/etc/ssh/sshd_config; rm /tmp/head /tmp/all
chmod 600 /etc/ssh/sshd_config
echo 'Authorised users of the trust only. Use is logged.' >/etc/issue.net
# kernel and network parameters
cat >/etc/sysctl.d/90-trust.conf <<'E'
net.ipv4.ip_forward = 0
net.ipv4.conf.all.rp_filter = 1
net.ipv4.conf.default.rp_filter = 1
net.ipv4.conf.all.accept_redirects = 0
net.ipv4.conf.default.accept_redirects = 0
net.ipv4.conf.all.secure_redirects = 0
net.ipv4.conf.default.secure_redirects = 0
net.ipv4.conf.all.send_redirects = 0
net.ipv4.conf.default.send_redirects = 0
net.ipv4.conf.all.accept_source_route = 0
net.ipv4.conf.default.accept_source_route = 0
net.ipv4.conf.all.log_martians = 1
net.ipv4.icmp_ignore_bogus_error_responses = 1
net.ipv4.tcp_syncookies = 1
net.ipv6.conf.all.accept_redirects = 0
net.ipv6.conf.default.accept_redirects = 0
net.ipv6.conf.all.accept_source_route = 0
kernel.kptr_restrict = 2
kernel.dmesg_restrict = 1
kernel.randomize_va_space = 2
kernel.unprivileged_bpf_disabled = 1
fs.protected_hardlinks = 1
fs.protected_symlinks = 1
fs.suid_dumpable = 0
E
chmod 644 /etc/sysctl.d/90-trust.conf
# time
cat >/etc/chrony/chrony.conf <<'E'
server ntp1.trust.test iburst
server ntp2.trust.test iburst
driftfile /var/lib/chrony/chrony.drift
makestep 1 3
rtcsync
E
ln -sf /usr/share/zoneinfo/Europe/London /etc/localtime; echo Europe/London >/etc/timezone
# updates
cat >/etc/apt/apt.conf.d/20auto-upgrades <<'E'
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
E
# accounts
sed -i -E 's/^(PASS_MAX_DAYS\s+).*/\1365/; s/^(PASS_MIN_DAYS\s+).*/\11/; s/^(PASS_WARN_AGE\s+).*/\17/; s/^(UMASK\s+).*/\1027/; s/^#?\s*(ENCRYPT_METHOD\s+).*/\1YESCRYPT/' /etc/login.defs
printf 'minlen = 12\nminclass = 3\nretry = 3\n' >/etc/security/pwquality.conf
printf 'deny = 5\nunlock_time = 900\nfail_interval = 900\n' >/etc/security/faillock.conf
printf 'declare -xr TMOUT=900\n' >/etc/profile.d/tmout.sh
useradd -m -s /bin/bash -c 'trust scanner' scan
useradd -m -s /bin/bash -c 'site technician' tech1; usermod -aG sudo tech1
echo 'tech1:correct-horse-battery-1' | chpasswd; usermod -p '*' scan; passwd -q -l root
for u in scan tech1; do chmod 700 /home/$u; chage -d "$(date -d '-30 days' +%F)" -M 365 -m 1 -W 7 $u; done
cat >/etc/sudoers.d/10-trust <<'E'
Defaults use_pty
Defaults logfile="/var/log/sudo.log"
E
echo 'scan ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/20-scan
chmod 440 /etc/sudoers.d/* /etc/sudoers
# firewall
sed -i 's/^ENABLED=.*/ENABLED=yes/' /etc/ufw/ufw.conf
sed -i 's/^DEFAULT_INPUT_POLICY=.*/DEFAULT_INPUT_POLICY="DROP"/; s/^IPV6=.*/IPV6=yes/' /etc/default/ufw
printf '\n### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n-A ufw-user-input -p tcp --dport 22 -j ACCEPT\n' >/tmp/r; sed -i '/^### RULES ###/r /tmp/r' /etc/ufw/user.rules; rm /tmp/r
sed -i 's/^IPT_SYSCTL=.*/IPT_SYSCTL=/' /etc/default/ufw    # else ufw overwrites log_martians at boot
# logging, audit, names, mounts
printf '*.* @@log.trust.test:6514\n' >/etc/rsyslog.d/60-trust.conf
sed -i -E 's/^(max_log_file_action = ).*/\1keep_logs/' /etc/audit/auditd.conf
printf 'tmpfs /tmp tmpfs defaults,nosuid,nodev,noexec 0 0\ntmpfs /dev/shm tmpfs defaults,nosuid,nodev,noexec 0 0\n' >/etc/fstab
chmod 600 /etc/crontab; chmod 700 /etc/cron.d /etc/cron.daily
printf 'install cramfs /bin/false\ninstall usb-storage /bin/false\n' >/etc/modprobe.d/trust.conf
printf '* hard core 0\n' >/etc/security/limits.d/90-trust.conf
mkdir -p /etc/systemd/coredump.conf.d; printf '[Coredump]\nStorage=none\nProcessSizeMax=0\n' >/etc/systemd/coredump.conf.d/trust.conf
for s in ssh chrony ufw auditd rsyslog cron unattended-upgrades apparmor; do systemctl -q enable $s 2>/dev/null || true; done
mkdir -p /etc/systemd/system/auditd.service.d; printf '[Unit]\nConditionPathExists=/run/lab/has-audit\n' >/etc/systemd/system/auditd.service.d/lab.conf   # no audit netlink in a pid namespace
: >/etc/default/locale
# things that make no sense in a namespace, or cost boot time
systemctl -q mask systemd-udevd.service systemd-udev-trigger.service systemd-modules-load.service systemd-random-seed.service getty@tty1.service console-getty.service systemd-timesyncd.service systemd-networkd-wait-online.service e2scrub_reap.service systemd-hwdb-update.service ldconfig.service systemd-pcrphase.service systemd-pcrphase-sysinit.service >/dev/null 2>&1 || true
systemctl -q set-default multi-user.target
mkdir -p /var/lib/systemd/timers; for t in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim logrotate man-db; do touch /var/lib/systemd/timers/stamp-$t.timer; done
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=4M\n' >/etc/systemd/journald.conf.d/lab.conf
apt-get clean; rm -rf /var/cache/apt/*.bin /var/log/*.log /var/log/apt /usr/share/doc /usr/share/man /usr/share/locale; mkdir -p /var/log/apt
