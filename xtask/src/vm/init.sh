#!/bin/busybox sh
# The first program on the test machine's disk (xtask/src/vm): mounts, then runs the suites of /vm/suites one after the
# other. What it writes goes to the second serial line, where xtask reads it.
export PATH=/bin HOME=/root

exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw -echo
mkdir -p /dev/pts /dev/shm /dev/mqueue
ln -sf /proc/self/fd /dev/fd
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs run /run
ip link set lo up
# An address that is not loopback's, and a way to somewhere: what other machines would reach it by.
ip addr add 192.0.2.1/32 dev lo
ip route add 198.51.100.0/24 dev lo src 192.0.2.1
hostname vm
# As systemd does.
echo 1073741816 >/proc/sys/fs/nr_open

# As systemd leaves it: some controllers are handed down from the root, the others wait to be asked for, and no
# process but the kernel's is in the root.
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/init.scope
echo 1 >/sys/fs/cgroup/init.scope/cgroup.procs
echo "+cpu +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control

echo "vm: booted $(uname -r) with $(cat /sys/fs/cgroup/cgroup.controllers) after $(cut -d' ' -f1 /proc/uptime) s"

suite() {
    label=$1
    shift
    echo "vm: begin $label"
    "$@"
    echo "vm: end $?"
}
. /vm/suites
echo "vm: finished"
poweroff -f
