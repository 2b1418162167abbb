# inside.sh - runs in the new namespaces of one host: builds its root, applies its drift, becomes its PID 1.
# Wants: LABX (golden image), D (this host's folder), HN ADDR GW MASK, INIT, HK (host key), SEED (text of seed.sh),
# and for seed.sh LOGIN, ITEMS, PUBKEY.
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 lab "$D/m"; cd "$D/m"; mkdir u w r
mount -t overlay overlay -o lowerdir="$LABX",upperdir=u,workdir=w r; cd r
mount -t proc -o nosuid,nodev,noexec proc proc
# only the per-namespace part of /proc/sys may be written; a few kernel.* keys become per-host files
mkdir ../k; mount --bind proc/sys ../k
for kv in kernel/kptr_restrict=2 kernel/dmesg_restrict=1 kernel/randomize_va_space=2 kernel/unprivileged_bpf_disabled=1 fs/suid_dumpable=0 fs/protected_hardlinks=1 fs/protected_symlinks=1; do
  k=${kv%%=*}; f=../k_${k//\//.}; echo ${kv#*=} >$f; [ -e proc/sys/$k ] && mount --bind $f proc/sys/$k; done
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys; mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid tmpfs dev
for n in null zero full random urandom tty; do : >dev/$n; mount --bind /dev/$n dev/$n; done
mkdir dev/pts dev/shm; mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts; ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
mount -t tmpfs -o nosuid,nodev,noexec tmpfs dev/shm
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run; mount -t tmpfs -o mode=1777,nosuid,nodev,noexec tmpfs tmp
mkdir run/lab run/sshd; cp "$HK" run/lab/ssh_host_ed25519_key; cp "$HK.pub" run/lab/ssh_host_ed25519_key.pub
hostname "$HN"; ip link set lo up; ip addr add $ADDR/$MASK dev eth0; ip link set eth0 up; ip route add default via $GW
printf '%s' "$SEED" | chroot . /bin/bash -u || { echo SEED-FAILED; exit 1; }
[ -e run/lab/nossh ] && : >"$D/nossh"
# global kernel keys read-only; /proc/sys/net stays writable (it belongs to this namespace)
for k in kernel fs vm dev debug user abi; do [ -d proc/sys/$k ] && { mount --rbind proc/sys/$k proc/sys/$k; mount -o remount,bind,ro proc/sys/$k; }; done
for kv in kernel/kptr_restrict kernel/dmesg_restrict kernel/randomize_va_space kernel/unprivileged_bpf_disabled fs/suid_dumpable fs/protected_hardlinks fs/protected_symlinks; do
  f=../k_${kv//\//.}; [ -e proc/sys/$kv ] && mount --bind $f proc/sys/$kv; done
if [ $INIT = lite ]; then
  for f in etc/sysctl.d/*.conf; do sysctl -q -p $f >/dev/null 2>&1 || true; done   # host's sysctl, host's files, this netns
fi
cat >run/lab/late.sh <<'E'
[ -e /run/lab/late ] && while IFS== read -r k v; do echo "$v" >/proc/sys/$(echo $k | tr . /); done </run/lab/late; rm -f /run/lab/late /run/lab/ssh_host*; :
E
: >"$D/booted"
mkdir -p mnt; pivot_root . mnt; umount -l /mnt
cd /
exec >/run/lab/boot.log 2>&1 </dev/null
if [ $INIT = lite ]; then
  chroot . /bin/sh /run/lab/late.sh
  exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=lab LAB=lite /bin/sh -c '[ -e /run/lab/nossh ] || /usr/sbin/sshd; [ -e /etc/systemd/system/intranet.service ] && /usr/bin/python3 -S -c "import socket,time;s=socket.socket();s.setsockopt(1,2,1);s.bind((str(0),8081));s.listen();time.sleep(1e9)" & trap : CHLD; while :; do sleep 100000 & wait; done'
fi
mkdir -p /run/systemd/system/sysinit.target.wants
printf '[Unit]\nDefaultDependencies=no\nAfter=systemd-sysctl.service\nBefore=multi-user.target ssh.service\n[Service]\nType=oneshot\nExecStart=/bin/sh /run/lab/late.sh\n' >/run/systemd/system/lab-late.service
mkdir -p /run/systemd/system/multi-user.target.wants; ln -s ../lab-late.service /run/systemd/system/multi-user.target.wants/
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal --show-status=0
