#!/bin/busybox sh
# The first program of the test machine's initramfs: loads modules, and goes on with the disk's own.
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in /modules/*; do
    insmod "$module" || echo "boot: cannot load $module"
done
mount -t ext4 /dev/vda /disk || { echo "boot: no disk"; poweroff -f; }
umount /proc
mount --move /dev /disk/dev
exec switch_root /disk /vm/init
