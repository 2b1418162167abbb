# Collector for one Linux host: POSIX sh, read from stdin by one SSH exec. Writes nothing on the host, needs no Python.
# Answer: "\n<RS>K name\n" body "\n<RS>K rc=N note\n" for each section, "\n<RS>K + state path\n" before each file inside
# one, and "\n<RS>K END n\n" last. K is new for every run, so no content of a file can forge a mark.
# rc: 0 answered, 3 not there in this kind of system (note), 124 timed out, 126 needs root, 127 command missing (note).
# No secret leaves the host: passwords become classes here, and configuration is narrowed to the lines that are read.
exec 2>/dev/null
LC_ALL=C; export LC_ALL; PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin; export PATH
unset CDPATH ENV BASH_ENV GREP_OPTIONS POSIXLY_CORRECT; umask 077; IFS=' 	
'
RS=$(printf '\036'); U=$(id -u); T=; have() { command -v "$1" >/dev/null; }
have timeout && T='timeout 20'
SD=; [ -d /run/systemd/system ] && SD=1
PM=; if have dpkg-query && [ -s /var/lib/dpkg/status ]; then PM=dpkg; elif have rpm; then PM=rpm; fi
COUNT=0
sec() { SEC=$1; shift; NOTE=; printf '\n%s%s %s\n' "$RS" "$K" "$SEC"; "$@" </dev/null; printf '\n%s%s rc=%s %s\n' "$RS" "$K" "$?" "$NOTE"; COUNT=$((COUNT + 1)); }
mark() { printf '\n%s%s + %s %s\n' "$RS" "$K" "$2" "$1"; }
miss() { NOTE=$1; return 127; }
root() { [ "$U" = 0 ] || { NOTE=sudo; return 126; }; }
# show FILE [sed script]: one file with its mark; states: ok, absent, denied, masked (a link to /dev/null)
show() {
  if [ -L "$1" ] && [ "$(readlink -f "$1")" = /dev/null ]; then mark "$1" masked
  elif [ -d "$1" ]; then mark "$1" absent
  elif [ -r "$1" ]; then mark "$1" ok; sed -e "${2:-}" "$1"
  elif [ -e "$1" ] || [ -L "$1" ]; then mark "$1" denied
  else mark "$1" absent; fi; return 0; }
PLAINLY='s/^[[:space:]]*//;/^$/d;/^[#;]/d'

s_meta() { printf 'proto=1\nuid=%s\nsystemd=%s\npackages=%s\ntime=%s\n' "$U" "$SD" "$PM" "$(date +%s)"; }
s_os() { for p in /etc/os-release /usr/lib/os-release; do if [ -r "$p" ]; then cat "$p"; break; fi; done
  printf '\nX_KERNEL=%s\nX_MACHINE=%s\n' "$(uname -r)" "$(uname -m)"
  for p in /etc/apt/sources.list.d/ubuntu-esm-infra.*; do [ -e "$p" ] && echo X_EXTENDED=1; done; return 0; }

s_sshd() { have sshd || { miss sshd; return; }; root || return; $T sshd -T; }
# how the running daemon was started, found upwards from here: -f and -o make the files speak of something else
s_sshd_run() { p=$$; i=0; while [ "${p:-1}" -gt 1 ] && [ $i -lt 25 ]; do c=$(tr '\000' ' ' <"/proc/$p/cmdline")
    case $c in sshd:*'[listener]'*|*/sshd|*/sshd\ *) printf '%s\n' "$c"; return 0;; esac
    p=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$p/status"); i=$((i + 1)); done
  # not below it (the host scans itself): the one that systemd runs
  if [ "$SD" ]; then for u in sshd ssh; do p=$($T systemctl show -p MainPID -- $u.service); p=${p#MainPID=}
      if [ "${p:-0}" -gt 0 ] && [ -r "/proc/$p/cmdline" ]; then tr '\000' ' ' <"/proc/$p/cmdline"; echo; return 0; fi; done; fi
  grep -qs '^CRYPTO_POLICY=' /etc/crypto-policies/back-ends/opensshserver.config && echo crypto-policy=1; return 1; }
SSHD_WORDS='match|include|permitrootlogin|passwordauthentication|kbdinteractiveauthentication|challengeresponseauthentication|permitemptypasswords'
ssh_file() ( # depth file
  if [ ! -r "$2" ]; then show "$2"; exit 0; fi
  mark "$2" ok; grep -Ei "^[[:space:]]*($SSHD_WORDS)[[:space:]=]" "$2"
  [ "$1" -lt 8 ] || exit 0
  sed -n 's/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee][[:space:]=][[:space:]=]*//p' "$2" | tr -d '"' | tr -s ' \t' '\n' | while read -r g; do
    case $g in /*) ;; '') continue;; *) g=/etc/ssh/$g;; esac
    for q in $g; do [ -e "$q" ] && ssh_file $(($1 + 1)) "$q"; done; done )
s_sshd_files() { root || return; ssh_file 0 /etc/ssh/sshd_config; return 0; }

s_sysctl() { i=0; for k in "$@"; do if [ -r "/proc/sys/$k" ] && v=$(cat "/proc/sys/$k"); then printf '%s ok %s\n' $i "$(printf %s "$v" | tr '\n' ' ')"
    elif [ -e "/proc/sys/$k" ]; then echo "$i denied"; elif [ -d /proc/sys/kernel ]; then echo "$i absent"; else echo "$i denied"; fi; i=$((i + 1)); done; return 0; }
s_sysctl_files() { for d in /etc /run /usr/local/lib /usr/lib /lib; do for p in "$d"/sysctl.d/*.conf; do
      if [ -e "$p" ] || [ -L "$p" ]; then show "$p" "$PLAINLY"; fi; done; done
  [ "$SD" ] || show /etc/sysctl.conf "$PLAINLY"
  c=/boot/config-$(uname -r); [ -r "$c" ] || c=/usr/lib/modules/$(uname -r)/config
  if [ -r "$c" ]; then mark kernel ok; grep -E 'CONFIG_(SECURITY_DMESG_RESTRICT|BPF_UNPRIV_DEFAULT_OFF)[ =]' "$c"; fi
  mark cmdline ok; tr ' ' '\n' </proc/cmdline | grep '^sysctl[./]'
  if have ufw && grep -qi '^ENABLED=["'\'']*yes' /etc/ufw/ufw.conf; then
    p=$(sed -n 's/^IPT_SYSCTL=["'\'']*\([^"'\'']*\).*/\1/p' /etc/default/ufw | tail -n 1); if [ "$p" ]; then mark ufw ok; sed -e "$PLAINLY" "$p"; fi; fi; return 0; }

rpm_works() { $T rpm -q --whatprovides rpm >/dev/null; }
s_package() { case $PM in
  dpkg) $T dpkg-query -W -f '${db:Status-Abbrev}|${Package}|${Version}\n' "$@" 2>&1; r=$?; [ $r -gt 1 ] && return $r; return 0;;
  # with a database that is broken, rpm says of every package that it is not installed
  rpm) rpm_works || return 1; for p in "$@"; do $T rpm -q --qf 'ii |%{NAME}|%{EPOCH}:%{VERSION}-%{RELEASE}\n' "$p" 2>&1; done; return 0;;
  *) miss 'dpkg or rpm';; esac; }
s_packages() { case $PM in
  dpkg) $T dpkg-query -W -f '${db:Status-Abbrev}|${Package}|${Version}\n';;
  rpm) $T rpm -qa --qf 'ii |%{NAME}|%{EPOCH}:%{VERSION}-%{RELEASE}\n';;
  *) miss 'dpkg or rpm';; esac; }
s_service() { [ "$SD" ] || { NOTE=systemd; return 3; }; $T systemctl show --no-pager -p Id,LoadState,ActiveState,UnitFileState -- "$@"; }
s_file() { i=0; for p in "$@"; do if v=$(stat -L -c '%a|%U|%G|%F' -- "$p" 2>&1); then echo "$i ok $v"; else case $v in
    *'No such file'*|*'Not a directory'*) echo "$i absent";; *) echo "$i denied";; esac; fi; i=$((i + 1)); done; return 0; }

# never a hash: user:class:uid:gid:home:shell
CLASS='function k(p){if(p=="")return "empty"; if(p~/^[!*]/)return "locked"; if(p=="x")return "shadow"; if(p~/^\$6\$/)return "sha512"; if(p~/^\$5\$/)return "sha256"; if(p~/^\$y\$/)return "yescrypt"; if(p~/^\$gy\$/)return "gost-yescrypt"; if(p~/^\$7\$/)return "scrypt"; if(p~/^\$2[abxy]?\$/)return "bcrypt"; if(p~/^\$1\$/)return "md5"; if(length(p)==13)return "des"; return "other"}'
s_passwd() { awk -F: "$CLASS"'NF>=7{print $1":"k($2)":"$3":"$4":"$6":"$7}' /etc/passwd; }
s_shadow() { if [ ! -e /etc/shadow ]; then NOTE=absent; return 3; fi; root || return
  awk -F: "$CLASS"'NF>=2{c=k($2); if(c=="shadow")c="other"; print $1":"c":"$3":"$4":"$5":"$6":"$7":"$8}' /etc/shadow; }
s_group() { awk -F: 'NF>=4{print $1":"$3":"$4}' /etc/group; }
sudo_file() ( # depth file: a backslash joins lines, so the text goes whole but for its comments
  mark "$2" "ok:$(stat -L -c '%a:%U:%G' -- "$2")"; sed -e '/^[[:space:]]*#[^0-9i]/d;/^[[:space:]]*#*$/d' "$2"
  [ "$1" -lt 8 ] || exit 0
  sed -n 's/^[[:space:]]*[#@]include\(dir\)\{0,1\}[[:space:]][[:space:]]*"\{0,1\}\([^"]*\)"\{0,1\}[[:space:]]*$/\1 \2/p' "$2" | while read -r w g; do
    [ "$g" ] || { g=$w; w=; }; case $g in /*) ;; *) g=$(dirname "$2")/$g;; esac
    if [ "$w" = dir ]; then for q in "$g"/*; do case ${q##*/} in *.*|*~) ;; *) [ -f "$q" ] && sudo_file $(($1 + 1)) "$q";; esac; done
    elif [ -f "$g" ]; then sudo_file $(($1 + 1)) "$g"; fi; done )
s_sudoers() { if ! have sudo && [ ! -e /etc/sudoers ]; then NOTE=absent; return 3; fi; root || return
  mark sources ok; sed -n 's/^[[:space:]]*sudoers[[:space:]]*:[[:space:]]*//p' /etc/nsswitch.conf; mark version ok; sudo -V | sed -n 1p
  if [ -f /etc/sudoers ]; then sudo_file 0 /etc/sudoers; fi; return 0; }
# of PAM: kind, control, module, and three arguments; all others may hold anything
PAM_WORDS='/^[[:space:]]*#/{next} {t=$1; sub(/^-/,"",t); e=($NF~/\\$/)?" \\":""; if(t=="@include"){print t,$2;next} if(t!="password"&&t!="auth"){if(e!="")print t,e;next}
  i=2; c=$2; if(c~/^\[/){while(i<NF&&$i!~/\]$/)i++; c="[]"} o=t" "c" "$(i+1); for(j=i+2;j<=NF;j++)if($j~/^(minlen|deny)=[0-9]*$/||$j~/^(conf=.*|md5|bigcrypt|blowfish|sha256|sha512|yescrypt|gost_yescrypt)$/){sub(/^conf=.*/,"conf=",$j);o=o" "$j} print o e}'
s_login() { show /etc/login.defs "$PLAINLY"; for p in /etc/security/pwquality.conf /etc/security/pwquality.conf.d/*.conf; do [ -e "$p" ] && show "$p" "$PLAINLY"; done
  show /etc/security/faillock.conf "$PLAINLY"; for p in /etc/profile /etc/profile.d/*.sh /etc/bash.bashrc /etc/bashrc; do
    [ -e "$p" ] || continue; if [ -r "$p" ]; then mark "shell:$p" ok; grep -E '(^|[^A-Za-z0-9_])(TMOUT=|umask[[:space:]]+[0-7])' "$p"; else mark "shell:$p" denied; fi; done
  for p in /etc/pam.d/*; do [ -f "$p" ] || continue; if [ -r "$p" ]; then mark "$p" ok; awk "$PAM_WORDS" "$p"; else mark "$p" denied; fi; done; return 0; }

s_sockets() { o=; root && o=p; NOTE=
  # a listing that failed must not look like a host on which nothing listens: there is always the line of headings
  if have ss; then x=$($T ss -tuln$o); r=$?; [ "$x" ] || [ $r != 0 ] || r=1; printf '%s\n' "$x" | sed 1d; return $r; fi
  NOTE=procnet; for p in tcp tcp6 udp udp6; do [ -r /proc/net/$p ] || { [ $p = tcp ] && return 126; continue; }; mark $p ok; sed 1d /proc/net/$p; done; return 0; }
flags() { sed 's/=[^,[:space:]]*//g'; }
s_mount() { m=/proc/self/mounts; [ "$U" = 0 ] && m=/proc/1/mounts
  mark now ok; awk '{print $2,$3,$4}' $m | flags; [ -r $m ] || return 126
  mark fstab ok; awk '$1!~/^#/&&NF>=3{print $2,$3,(NF>3?$4:"defaults")}' /etc/fstab | flags
  [ "$SD" ] || return 0
  for p in "$@"; do u=$(systemd-escape -p --suffix=mount -- "$p") || continue; f=$($T systemctl show -p FragmentPath -- "$u"); f=${f#FragmentPath=}
    case $f in ''|/run/systemd/generator*|/proc/*) continue;; esac
    mark "$p" "unit:$($T systemctl show -p UnitFileState -- "$u" | sed 's/.*=//')"; $T systemctl cat --no-pager -- "$u" | grep -E '^(Options|Type|\[)' | flags; done; return 0; }
s_dns() { show /etc/resolv.conf '/^[[:space:]]*nameserver/!d'; show /run/systemd/resolve/resolv.conf '/^[[:space:]]*nameserver/!d'; }

NTP='/^[[:space:]]*(server|pool|peer|refclock|servers|include|confdir|sourcedir|includefile|NTP|FallbackNTP)([[:space:]=]|$)/Ip'
ntp_file() ( # depth file
  [ -r "$2" ] || { show "$2"; exit 0; }; mark "$2" ok; sed -n -E "$NTP" "$2"; [ "$1" -lt 5 ] || exit 0
  sed -n -E 's/^[[:space:]]*(include|confdir|sourcedir|includefile)[[:space:]]+//Ip' "$2" | while read -r g; do for q in $g; do
    if [ -d "$q" ]; then [ -r "$q" ] && [ -x "$q" ] || mark "$q" denied; for r in "$q"/*.conf "$q"/*.sources; do [ -f "$r" ] && ntp_file $(($1 + 1)) "$r"; done; elif [ -f "$q" ]; then ntp_file $(($1 + 1)) "$q"; fi; done; done )
s_time() { mark units ok
  if [ "$SD" ]; then $T systemctl show --no-pager -p Id,LoadState,ActiveState,UnitFileState -- chrony.service chronyd.service ntpsec.service ntp.service ntpd.service openntpd.service systemd-timesyncd.service
  else mark programs ok; for p in chronyd ntpd openntpd; do have $p && echo $p; done; [ -x /lib/systemd/systemd-timesyncd ] && echo systemd-timesyncd
    mark running ok; for p in /proc/[0-9]*/comm; do read -r c <"$p" && echo "$c"; done | grep -E '^(chronyd|ntpd|openntpd|systemd-timesyn)'; fi
  for p in /etc/chrony/chrony.conf /etc/chrony.conf; do [ -e $p ] && ntp_file 0 $p && break; done
  for p in /run/ntpsec/ntp.conf.dhcp /run/ntp.conf.dhcp /etc/ntpsec/ntp.conf /etc/ntp.conf; do [ -e $p ] && ntp_file 0 $p && break; done
  for p in /etc/openntpd/ntpd.conf /etc/ntpd.conf; do [ -e $p ] && ntp_file 0 $p && break; done
  if [ "$SD" ] && have timedatectl; then
    case $($T systemctl is-active systemd-timesyncd) in active) mark timesyncd ok; $T timedatectl show-timesync -p SystemNTPServers -p LinkNTPServers -p FallbackNTPServers -p RuntimeNTPServers;; esac; fi
  for d in /etc /run /usr/lib; do for p in $d/systemd/timesyncd.conf $d/systemd/timesyncd.conf.d/*.conf; do [ -f "$p" ] && ntp_file 9 "$p"; done; done; return 0; }
s_timezone() { if [ -L /etc/localtime ]; then readlink -f /etc/localtime; elif [ -s /etc/timezone ]; then cat /etc/timezone; elif [ -e /etc/localtime ]; then NOTE=copy; return 3; else echo /usr/share/zoneinfo/Etc/UTC; fi; }

s_apt() { have apt-config || { NOTE=apt; return 3; }; x=$($T apt-config dump); r=$?
  printf '%s\n' "$x" | grep -E '^(APT::Periodic::|Unattended-Upgrade::(Origins-Pattern|Allowed-Origins)|Dir::State::lists)'; return $r; }
# security updates that wait, by the lists that the host holds already: nothing is fetched
index() { for p; do case $p in *_Packages) cat "$p";; *) /usr/lib/apt/apt-helper cat-file "$p";; esac || return; done; }
fields() { grep -E '^(Package|Version|Architecture): '; }
# stdin: wanted `name|arch|version`, a line --, an index. Out: `name|arch|version wanted|version listed`, where they differ
LISTED='function out(i,r){if(n!="")for(i=1;i<=c[n];i++){split(h[n,i],r,"|");if((a==r[1]||a=="all"||r[1]=="all")&&(v==r[2])==same)print n"|"r[1]"|"r[2]"|"v};n=""}
  $0=="--"{s=1;next} !s{split($0,x,"|");c[x[1]]++;h[x[1],c[x[1]]]=x[2]"|"x[3];next} $1=="Package:"{out();n=$2;if(n=="/")print n;next} $1=="Version:"{v=$2;next} {a=$2} END{out()}'
older() { while IFS='|' read -r n a i v; do if dpkg --compare-versions "$i" lt "$v"; then printf '%s|%s|%s|%s\n' "$n" "$a" "$i" "$v"; fi; done; }
apt_lists() { # kind: shows every list of that kind (security or base) with what of $W it has
  for p in /var/lib/apt/lists/*_InRelease /var/lib/apt/lists/*_Release; do [ -r "$p" ] || continue
    x=$(sed -n '/^\(SHA\|MD5\)/q;/^\(Origin\|Label\|Suite\|Codename\|Date\): /p' "$p"); k=base
    case $x in *'Label: Debian-Security'*) k=security;; *'Origin: Ubuntu'*) case $x in *'Suite: '*-security*) k=security;; esac;; *'Origin: Debian'*) ;; *) k=;; esac
    [ "$k" = "$1" ] || continue
    b=${p%Release}; b=${b%In}; set --; for q in "$b"*_Packages "$b"*_Packages.*; do [ -r "$q" ] && set -- "$@" "$q"; done
    mark "${b##*/}" ok; printf '%s\n' "$x"; for q; do printf 'Index: %s\n' "${q#"$b"}"; done
    if [ "$W" ] && [ $# -gt 0 ]; then m=; [ $k = base ] && m=1
      y=$({ printf '%s\n--\n' "$W"; { index "$@" || echo 'Package: /'; } | fields; } | awk -v same=$((0$m)) "$LISTED"); case $y in */) return 1;; esac
      if [ $k = security ]; then y=$(printf '%s\n' "$y" | older); N="$N
$y"; fi; printf '%s\n' "$y"; fi; set -- "$k"; done; return 0; }
s_updates() { case $PM in
  dpkg) W=$($T dpkg-query -W -f '${db:Status-Abbrev}|${Package}|${Architecture}|${Version}\n') || return; N=
    W=$(printf '%s\n' "$W" | sed -n 's/^.[iUFHWt][^|]*|//p'); [ "$W" ] || return 1; apt_lists security || return
    # a point release has many of them too: its date says until when they were out
    W=$(printf '%s\n' "$N" | sed -n 's/^\([^|]*|[^|]*|\)[^|]*|/\1/p'); apt_lists base;;
  rpm) root || return; for c in dnf yum; do have $c && break; c=; done; [ $c ] || { miss 'dnf or yum'; return; }
    o=--security; [ $c = yum ] && o=security; x=$($T $c -q -C updateinfo list $o) || return; printf '%s\n' "$x"; i=$(printf '%s\n' "$x" | awk 'NF>2{print $1}' | sort -u | tr '\n' ' ')
    for p in /var/cache/dnf/*/repodata/repomd.xml /var/cache/libdnf5/*/repodata/repomd.xml /var/cache/yum/*/*/*/repomd.xml; do [ -r "$p" ] || continue
      d=${p%/*}; b=${d%/repodata}; mark "${b##*/}" ok; stat -c 'checked=%Y' "$p" "$d"/*primary.*
      for q in "$d"/*updateinfo.xml* "$b"/*updateinfo.xml* "$b"/gen/updateinfo.xml; do [ -s "$q" ] || continue; echo updateinfo=1; [ "$i" ] || break
        { case $q in *.gz) zcat "$q";; *.xz) xzcat "$q";; *.bz2) bzcat "$q";; *.zst) zstdcat "$q";; *.zck) unzck -c "$q";; *) cat "$q";; esac; } | sed 's/></>\n</g' | awk -v want="$i" 'BEGIN{split(want,x," ");for(k in x)w[x[k]]=1}
          /<id>/{sub(/.*<id>/,"");sub(/<.*/,"");id=$0} /<issued /{sub(/.*date=./,"");sub(/["\047].*/,"");if(id in w)print "issued|"id"|"$0}'; break; done; done; return 0;;
  *) miss 'dpkg or rpm';; esac; }
s_ufw() { have ufw || { NOTE=absent; return 3; }
  show /etc/ufw/ufw.conf '/^[[:space:]]*ENABLED=/!d'; show /etc/default/ufw '/^[[:space:]]*\(DEFAULT_INPUT_POLICY\|IPV6\)=/!d'; return 0; }
s_netfilter() { root || return; n=; r=127
  if have nft; then x=$($T nft list ruleset); r=$?
    if [ $r = 0 ]; then n=1; mark nft ok; printf '%s\n' "$x" | grep -E '^[[:space:]]*(table|chain|type .* hook input)'; fi; fi
  # the legacy tool would load its kernel module just by being asked
  if have iptables && { [ -z "$n" ] || grep -qs '^filter' /proc/net/ip_tables_names; }; then n=
    for x in iptables-legacy iptables; do have $x || continue; mark iptables ok; $T $x -S INPUT; r=$?
      [ $r = 0 ] && { n=1; $T $x -S ufw-user-input | sed -n 1p; }; break; done; fi
  [ "$n" ] && return 0; [ $r = 127 ] || return $r; miss 'nft or iptables'; }
s_log() { p=; for d in rsyslogd syslog-ng fluent-bit vector filebeat promtail; do have $d && p="$p $d"; done; mark daemons ok; echo $p
  mark upload ok; grep -hs '^[[:space:]]*URL=' /etc/systemd/journal-upload.conf | sed 's#//[^/@]*@#//#'
  have rsyslogd || return 0; log_file 0 /etc/rsyslog.conf; return 0; }
log_file() ( # depth file; lines that may hold a password stay here
  [ -r "$2" ] || { show "$2"; exit 0; }; mark "$2" ok
  sed -e '/^[[:space:]]*#/d' "$2" | grep -Ei '@|omfwd|target|protocol|include|action|\)|/\*|\*/|stop' | grep -Eiv 'pwd|passw|token|secret|ommysql|ompgsql'
  [ "$1" -lt 5 ] || exit 0
  sed -n -E 's/^[[:space:]]*\$IncludeConfig[[:space:]]+//p; s/^[[:space:]]*include\([[:space:]]*file[[:space:]]*=[[:space:]]*"([^"]*)".*/\1/p' "$2" | while read -r g; do
    for q in $g; do if [ -d "$q" ]; then for r in "$q"/*; do [ -f "$r" ] && log_file $(($1 + 1)) "$r"; done; elif [ -f "$q" ]; then log_file $(($1 + 1)) "$q"; fi; done; done )
s_audit() { if ! have auditd && [ ! -e /etc/audit/auditd.conf ]; then NOTE=absent; return 3; fi; root || return; show /etc/audit/auditd.conf '/^[[:space:]]*max_log_file_action/!d'; }
s_modprobe() { for d in /etc /run /usr/local/lib /usr/lib /lib; do for p in $d/modprobe.d/*.conf; do [ -e "$p" ] && show "$p" '/^[[:space:]]*\(install\|blacklist\)[[:space:]]/!d'; done; done; return 0; }

s_cores() { mark pattern ok; cat /proc/sys/kernel/core_pattern && cat /proc/sys/kernel/core_uses_pid || return
  for p in /usr/lib/systemd/systemd-coredump /lib/systemd/systemd-coredump; do if [ -e $p ]; then mark systemd-coredump ok; break; fi; done
  for d in /etc /run /usr/local/lib /usr/lib /lib; do for p in $d/systemd/coredump.conf $d/systemd/coredump.conf.d/*.conf; do if [ -e "$p" ] || [ -L "$p" ]; then show "$p" '/^[[:space:]]*\(Storage\|ExternalSizeMax\)[[:space:]]*=/!d'; fi; done; done
  for p in /etc/security/limits.conf /etc/security/limits.d/*.conf; do [ -e "$p" ] && show "$p" '/[[:space:]]core[[:space:]]/!d'; done; return 0; }
scan() { $T find "$@" 2>&1; }
# setuid programs everywhere that programs live and people may write, with what the packages say they own
s_setuid() { d=; for p in /usr /bin /sbin /lib /opt /srv /home /root /var/tmp /tmp /etc; do [ -d $p ] && [ ! -L $p ] && d="$d $p"; done
  f=$(scan $d -xdev -type f -perm /6000 -exec stat -c '%a|%U|%G|%n' {} +); r=$?; printf '%s\n' "$f"; mark owned ok
  q=0; f=$(printf '%s\n' "$f" | sed -n 's/^[0-7]*|[^|]*|[^|]*|\(\/.*\)/\1/p' | grep -v '[][*?\\]'); IFS='
'; set -f; case $PM in
    dpkg) if [ "$f" ]; then o=$(dpkg-query -S $f $(printf '%s\n' $f | sed -n 's#^/usr/#/#p')); q=$?; printf '%s\n' "$o" | sed -n 's/^[^/]*: //p'; fi;;
    rpm) [ -z "$f" ] || rpm_works || return 2; for p in $f; do rpm -qf "$p" >/dev/null && printf '%s\n' "$p"; done;; esac; set +f; IFS=' 	
'; [ $q -le 1 ] || return $q; return $r; }
s_world_writable() { scan /etc /usr/local -xdev -type f -perm -0002 -exec stat -c '%a|%U|%G|%n' {} +; }
s_uptime() { cat /proc/uptime; }
s_reboot() { if [ -e /run/reboot-required ] || [ -e /var/run/reboot-required ]; then echo yes; return 0; fi
  case $PM in dpkg) echo no; boxed && echo boxed=1; printf 'running=%s\nbuild=%s\n' "$(uname -r)" "$(uname -v)"
    for p in /usr/share/update-notifier/notify-reboot-required /etc/kernel/postinst.d/unattended-upgrades /etc/kernel/postinst.d/update-notifier /etc/kernel/postinst.d/reboot-notifier; do [ -e $p ] && echo writer=1; done
    $T dpkg-query -W -f '${db:Status-Abbrev}|image=${Package}|${Version}\n' 'linux-image-[0-9]*' 'linux-image-unsigned-[0-9]*' | sed -n '/-dbg[|]/d;/-dbgsym[|]/d;s/^.i.*|\(image=.*|\)/\1/p'; return 0;; rpm) have needs-restarting || { miss needs-restarting; return; }
    # its rc is 1 too when it fails, so its words count
    case $($T needs-restarting -r) in *'Reboot is required'*) echo yes;; *'Reboot should not be'*|*'Reboot is probably not'*) echo no;; *) return 1;; esac;; *) miss needs-restarting;; esac; }
boxed() { [ -e /run/systemd/container ] || { have systemd-detect-virt && systemd-detect-virt -cq; }; }
s_disks() { if boxed; then NOTE=container; return 3; fi; have lsblk || { miss lsblk; return; }; $T lsblk -rno TYPE,FSTYPE,MOUNTPOINT; }
s_ids() { cat /etc/machine-id || cat /var/lib/dbus/machine-id; echo
  boxed || cat /sys/class/dmi/id/product_serial; return 0; }
