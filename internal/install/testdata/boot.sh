# Makes a private copy of this machine's file system, for a systemd of its own,
# and waits for the signal to boot it: the file /run/go.
set -e
mount --make-rprivate /
if [ -e /sys/fs/cgroup/cgroup.procs ]; then
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
	mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
	[ ! -d /sys/fs/cgroup/unified ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
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
