# Makes a private copy of this machine's file system, for a systemd of its own,
# and waits for the signal to boot it: the file /run/go.
set -e
mount --make-rprivate /
# No file system mounts over itself: mount(2), EBUSY.
over() {
	at=$1
	shift
	umount -R "$at" 2>/dev/null || true
	mount "$@" "$at"
}
if [ -e /sys/fs/cgroup/cgroup.procs ]; then
	over /sys/fs/cgroup -t cgroup2 cgroup2
else
	over /sys/fs/cgroup/systemd -t cgroup -o none,name=systemd cgroup
	[ ! -d /sys/fs/cgroup/unified ] || over /sys/fs/cgroup/unified -t cgroup2 cgroup2
fi
mount -t tmpfs none /mnt
for dir in etc usr var; do
	mkdir "/mnt/$dir" "/mnt/$dir.work"
	mount -t overlay -o "lowerdir=/$dir,upperdir=/mnt/$dir,workdir=/mnt/$dir.work" overlay "/$dir"
done
mount -t tmpfs none /run
mount -t tmpfs none /tmp
mkdir -p /run/systemd/system /run/lock
ip link set lo up
cat >/run/systemd/system/booted.target <<'X'
[Unit]
DefaultDependencies=no
Wants=nftables.service network-pre.target tirl.service
After=nftables.service network-pre.target tirl.service
X
: >/run/ready
while [ ! -e /run/go ]; do sleep 0.05; done
exec /lib/systemd/systemd --system --unit=booted.target --log-target=console --log-level=info --show-status=no
