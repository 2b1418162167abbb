#!/bin/bash
# host-lab.sh - N real, separate Linux hosts on one machine, for testing an SSH scanner.
# Every host: own root (overlay on the golden image), own mount/uts/ipc/pid/net/cgroup namespaces, systemd as PID 1,
# own sshd, host key and address on a private bridge. No host can reach anything but the bridge.
# Driven by tests/lab/hosts.py, which owns the slots; by hand:
#
#   host-lab.sh probe                   can this machine do it? prints why not, exit 1
#   host-lab.sh build                   make the golden image (once, about half a minute, needs the Debian mirror)
#   host-lab.sh start N [options]       h001..hNNN
#        --drift FILE                   lines "h001 item item ..."; "-" or no line = no drift (default: none)
#        --init systemd|lite            systemd as PID 1 (default) | only sshd (about 8 MB a host)
#        --login scan|root              user named in the inventory (root: PermitRootLogin prohibit-password)
#        --jobs J                       parallel starts (default 2 x cores)
#   host-lab.sh stop                    kills every host, removes namespaces, bridge, cgroups and the run folder
#   host-lab.sh status                  one line a host: name, address, up or DEAD
#   host-lab.sh reset H [H..]           fresh copy of these hosts, same drift, same host key
#   host-lab.sh pid H                   process id, seen from here, of the host's PID 1
#   host-lab.sh exec H CMD..            run CMD inside a host (nsenter, no ssh)
#
# Several labs side by side: SLOT=0..15 gives each its own bridge, addresses (198.18.0.0/15 is for test networks),
# cgroup and folder. Files in $RUN: hosts truth.tsv inventory.ini known_hosts id_ed25519 ssh_config
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SLOT=${SLOT:-0}
CACHE=${SPIRITLEVEL_LAB_CACHE:-/var/cache/spiritlevel-lab}
RUNROOT=${SPIRITLEVEL_LAB_RUN:-/run/spiritlevel-lab}
RUN=$RUNROOT/hosts-$SLOT
BR=sl$SLOT-br PFX=sl$SLOT- THIRD=$((8 * SLOT)) MASK=21
GW=198.18.$((THIRD + 7)).254
die() { echo "host-lab: $*" >&2; exit 1; }
hname() { printf 'h%03d' "$1"; }
haddr() { echo "198.18.$((THIRD + ($1 - 1) / 200)).$((1 + ($1 - 1) % 200))"; }
items() { cat "$HERE/drift.tsv"; }

# A cgroup v2 tree we may write to: beside cgroup v1, the only one, or (in a container that shows it read-only) our own view.
cg_parent() {
  local d
  for d in /sys/fs/cgroup/unified /sys/fs/cgroup "$RUNROOT/cgroup"; do
    [ -e "$d/cgroup.procs" ] && [ -w "$d/cgroup.procs" ] && ! findmnt -n -o OPTIONS --target "$d" | grep -qw ro && { echo "$d"; return; }
  done
  mkdir -p "$RUNROOT/cgroup" && mount -t cgroup2 none "$RUNROOT/cgroup" 2>/dev/null && echo "$RUNROOT/cgroup"
}
if [ "$(id -u)" = 0 ]; then mkdir -p -m 700 "$RUNROOT"; CG_PARENT=$(cg_parent); else CG_PARENT=; fi
CG=$CG_PARENT/spiritlevel-lab$SLOT
. "$HERE/image.sh"

probe() {
  [ "$(id -u)" = 0 ] || { echo "needs root"; return 1; }
  local c t=slp$$
  for c in ip unshare nsenter ssh-keygen perl flock pgrep; do command -v "$c" >/dev/null || { echo "missing $c: run tests/lab/deps.sh"; return 1; }; done
  [ -n "$CG_PARENT" ] || { echo "no cgroup v2 tree that may be written to"; return 1; }
  mkdir "$CG_PARENT/$t" 2>/dev/null && rmdir "$CG_PARENT/$t" || { echo "cgroups may not be made here"; return 1; }
  unshare --mount --uts --ipc --pid --net --cgroup --fork sh -c 'mount --make-rprivate / && mount -t tmpfs t /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/r &&
    mount -t overlay o -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w /mnt/r && mount -t proc proc /mnt/l' 2>/dev/null \
    || { echo "namespaces or overlay mounts are not permitted here"; return 1; }
  ip link add $t type bridge 2>/dev/null && ip link del $t || { echo "network bridges may not be made here"; return 1; }
  ip netns add $t 2>/dev/null && ip netns del $t || { echo "network namespaces may not be made here"; return 1; }
}

# ------------------------------------------------------------------ one host
one() { # index init login: runs detached; its child is PID 1 of the host
  local i=$1 init=$2 login=$3 h a d it; h=$(hname "$i"); a=$(haddr "$i"); d=$RUN/h/$h
  it=$(awk -v h="$h" '$1==h{$1="";sub(/^ /,"");print}' "$RUN/drift")
  rm -rf "$d"; mkdir -p "$d/m" "$CG/$h"
  [ -e "$RUN/hk/$h" ] || ssh-keygen -q -t ed25519 -N '' -C "$h" -f "$RUN/hk/$h" </dev/null
  echo "${it:--}" >"$d/items"
  LABX="$BASE" D="$d" HN=$h ADDR=$a GW=$GW MASK=$MASK INIT=$init LOGIN=$login ITEMS="$it" HK="$RUN/hk/$h" CGD="$CG/$h" \
  SEED="$(cat "$HERE/seed.sh")" PUBKEY="$(cat "$RUN/id_ed25519.pub")" \
  bash -c 'setsid "$@" </dev/null >"$D/log" 2>&1 &' _ nsenter --net="/run/netns/$PFX$h" bash -c \
    'echo $$ >"$CGD/cgroup.procs"; echo $$ >"$D/pid"; exec unshare --mount --uts --ipc --pid --cgroup --fork --kill-child bash -c "$0"' \
    "$(cat "$HERE/inside.sh")"
}
alive() { [ -e "$RUN/h/$1/pid" ] && grep -q '^populated 1' "$CG/$1/cgroup.events" 2>/dev/null; }
kill1() { # host
  local p; p=$(cat "$RUN/h/$1/pid" 2>/dev/null)
  if [ -e "$CG/$1/cgroup.kill" ]; then echo 1 >"$CG/$1/cgroup.kill" 2>/dev/null
  elif [ -n "$p" ] && grep -q "spiritlevel-lab$SLOT/$1" "/proc/$p/cgroup" 2>/dev/null; then kill -9 "$p"; fi; }
rmcg() { local n; for n in 1 2 3 4 5 6 7 8 9 10; do find "$1" -depth -type d -exec rmdir {} + 2>/dev/null; [ -d "$1" ] || return 0; sleep 0.1; done; }
pid1() { local p; p=$(cat "$RUN/h/$1/pid" 2>/dev/null) || die "no such host: $1"; pgrep -P "$p" | head -n 1; }

# firewall rules and sysctls live in the network namespace: a fresh host needs a fresh one
net_del() { [ -e "/sys/class/net/$PFX$1" ] && ip link del "$PFX$1"; [ -e "/run/netns/$PFX$1" ] && ip netns del "$PFX$1"; }
net_up() { # host indices
  ip link show "$BR" >/dev/null 2>&1 || { ip link add "$BR" type bridge; ip addr add "$GW/$MASK" dev "$BR"; ip link set "$BR" up; }
  local i h b1='' b2=''
  for i in "$@"; do h=$(hname "$i"); net_del "$h"
    b1+="netns add $PFX$h"$'\n'; b2+="link add $PFX$h master $BR up type veth peer name eth0 netns $PFX$h"$'\n'; done
  [ -z "$b1" ] || { printf %s "$b1" | ip -batch - || die "netns add failed"; printf %s "$b2" | ip -batch - || die "veth failed"; }
}

# 5 inotify instances a systemd host: the kernel's default of 128 stops at 22 hosts. A few hosts need no change at all;
# where there are many, the last lab to stop puts the limits back.
limits_up() {
  exec 7>"$RUNROOT/limits.lock"; flock 7
  local k v
  while read -r k v; do
    [ -e "/proc/sys/$k" ] && [ "$(cat "/proc/sys/$k")" -lt "$v" ] && { echo "$k $(cat "/proc/sys/$k")" >>"$RUNROOT/limits.saved"; echo "$v" >"/proc/sys/$k"; }
  done <<<$'fs/inotify/max_user_instances 16384\nfs/inotify/max_user_watches 1048576\nnet/ipv4/neigh/default/gc_thresh3 8192'
  exec 7>&-
}
limits_down() {
  exec 7>"$RUNROOT/limits.lock"; flock 7
  if [ -e "$RUNROOT/limits.saved" ] && [ -z "$(ls -d "$CG_PARENT"/spiritlevel-lab* 2>/dev/null)" ]; then
    local k v; while read -r k v; do echo "$v" >"/proc/sys/$k"; done <"$RUNROOT/limits.saved"; rm -f "$RUNROOT/limits.saved"
  fi
  exec 7>&-
}

# ------------------------------------------------------------------ the lab
start() {
  local n='' init=systemd drift='' login=scan jobs=$(( $(nproc) * 2 )) i h why bad=0 dl
  while [ $# -gt 0 ]; do case $1 in
    --init) init=$2; shift ;; --drift) drift=$2; shift ;; --login) login=$2; shift ;; --jobs) jobs=$2; shift ;;
    [0-9]*) n=$1 ;; *) die "unknown option $1" ;; esac; shift; done
  [ -n "$n" ] && [ "$n" -ge 1 ] && [ "$n" -le 1400 ] || die "start N, with N from 1 to 1400"
  why=$(probe) || die "$why"
  build
  mkdir -p "$RUN/h" "$RUN/hk" "$CG"
  if [ -n "$drift" ]; then cp "$drift" "$RUN/drift"; else : >"$RUN/drift"; fi
  for i in $(awk 'NR==FNR{k[$1];next} {for(j=2;j<=NF;j++) if(!($j in k) && $j!="-") print $j}' <(items) "$RUN/drift"); do die "no such drift item: $i"; done
  [ -e "$RUN/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C lab-scan -f "$RUN/id_ed25519" </dev/null
  [ "$n" -le 12 ] || limits_up
  # shellcheck disable=SC2046
  net_up $(seq 1 "$n")
  for i in $(seq 1 "$n"); do
    one "$i" "$init" "$login"
    while [ "$(pending "$i")" -ge "$jobs" ]; do sleep 0.02; done
  done
  dl=$((SECONDS + 60 + n / 2))
  for i in $(seq 1 "$n"); do ready "$i" $((dl > SECONDS ? dl - SECONDS : 0)) || { echo "not ready: $(hname "$i")" >&2; bad=1; }; done
  tables "$n" "$login" "$init"
  return $bad
}
pending() { # of the first N: how many are created, and not yet handed over to their init
  local c=0 i h; for i in $(seq 1 "$1"); do h=$(hname "$i"); [ -e "$RUN/h/$h/booted" ] || grep -q SEED "$RUN/h/$h/log" 2>/dev/null || c=$((c + 1)); done; echo $c; }
ready() { # index seconds: sshd greets
  local a h e l; a=$(haddr "$1") h=$(hname "$1") e=$((SECONDS + $2))
  while [ $SECONDS -le $e ]; do
    [ -e "$RUN/h/$h/nossh" ] && [ -e "$RUN/h/$h/booted" ] && return 0
    timeout 1 bash -c "exec 3<>/dev/tcp/$a/22 && read -t 1 -u 3 l && [ \"\${l#SSH}\" != \"\$l\" ]" 2>/dev/null && return 0
    [ -e "$RUN/h/$h/booted" ] && ! alive "$h" && { echo "$h died after boot" >&2; return 1; }
    grep -q SEED-FAILED "$RUN/h/$h/log" 2>/dev/null && { cat "$RUN/h/$h/log" >&2; return 1; }
    sleep 0.05
  done; return 1
}
tables() { # N login init
  local i h a it kt kb
  : >"$RUN/hosts"; : >"$RUN/known_hosts"; echo "[lab]" >"$RUN/inventory.ini"
  for i in $(seq 1 "$1"); do h=$(hname "$i"); a=$(haddr "$i"); read -r it <"$RUN/h/$h/items"; read -r kt kb _ <"$RUN/hk/$h.pub"
    echo "$h $a $3 $it" >>"$RUN/hosts"; echo "$a,$h $kt $kb" >>"$RUN/known_hosts"; echo "$h ansible_host=$a" >>"$RUN/inventory.ini"; done
  cat >>"$RUN/inventory.ini" <<E

[lab:vars]
ansible_user=$2
ansible_ssh_private_key_file=$RUN/id_ed25519
ansible_python_interpreter=/usr/bin/python3
ansible_ssh_common_args=-o UserKnownHostsFile=$RUN/known_hosts -o StrictHostKeyChecking=yes
E
  { awk '{print "Host "$1"\n  HostName "$2}' "$RUN/hosts"; echo "Host 198.18.* h*"
    printf '  User %s\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n  BatchMode yes\n' \
      "$2" "$RUN/id_ed25519" "$RUN/known_hosts"; } >"$RUN/ssh_config"
  awk -F'\t' 'NR==FNR{ids[$1]=$3;next} {n=split($0,f," "); for(j=4;j<=n;j++) if(f[j]!="-") print f[1]"\t"f[j]"\t"ids[f[j]]}' \
    <(items) "$RUN/hosts" >"$RUN/truth.tsv"
}

stop() {
  local h
  if [ -n "$CG_PARENT" ] && [ -d "$CG" ]; then
    for h in "$CG"/h*; do [ -d "$h" ] && kill1 "${h##*/}"; done
    for h in "$CG"/h*; do [ -d "$h" ] && rmcg "$h"; done
    rmcg "$CG"
  fi
  { for h in /sys/class/net/"$PFX"h*; do [ -e "$h" ] && echo "link del ${h##*/}"; done
    for h in /run/netns/"$PFX"h*; do [ -e "$h" ] && echo "netns del ${h##*/}"; done; } | ip -force -batch - 2>/dev/null
  ip link del "$BR" 2>/dev/null
  limits_down
  rm -rf "$RUN"
  [ ! -d "$CG" ] || die "could not stop every process in $CG"
}

reset() { # hosts
  local h n=() login; [ -s "$RUN/hosts" ] || die "not started"
  for h in "$@"; do [ -d "$RUN/h/$h" ] || die "no such host: $h"; n+=($((10#${h#h}))); kill1 "$h"; rmcg "$CG/$h"; done
  net_up "${n[@]}"
  login=$(sed -n 's/^ansible_user=//p' "$RUN/inventory.ini")
  for h in "$@"; do one $((10#${h#h})) "$(awk -v h="$h" '$1==h{print $3}' "$RUN/hosts")" "$login"; done
  for h in "$@"; do ready $((10#${h#h})) 60 || die "not ready: $h"; done
}

case ${1:-} in
  probe) probe ;;
  build) why=$(probe) || die "$why"; build ;;
  start) shift; start "$@" ;;
  stop) stop ;;
  status) [ -s "$RUN/hosts" ] || die "no hosts"
    while read -r h a _; do if alive "$h"; then echo "$h $a up"; else echo "$h $a DEAD"; fi; done <"$RUN/hosts" ;;
  reset) shift; reset "$@" ;;
  pid) p=$(pid1 "$2") && [ -n "$p" ] && echo "$p" ;;
  exec) shift; p=$(pid1 "$1"); shift; [ -n "$p" ] || die "the host is not running"; exec nsenter -t "$p" -m -u -i -n -p -C -- "$@" ;;
  *) sed -n '2,24p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//' ;;
esac
