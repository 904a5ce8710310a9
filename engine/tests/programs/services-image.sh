#!/usr/bin/env bash
# Makes the archive of a Debian with the programs of a small web application, for the tests.
# services-image.sh DEBIAN-TAR SCRATCH OUT APT-CONF PACKAGE...
#
# Run in mount and process namespaces of its own: whatever a package's script mounts or starts ends with them.
set -euo pipefail

debian=$1 scratch=$2 out=$3 conf=$4
shift 4
tree=$scratch/tree
mkdir "$tree"
tar -C "$tree" --numeric-owner --xattrs -xf "$debian"

# No service is started, and no database is made: both belong into a container's run.
printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
chmod 755 "$tree/usr/sbin/policy-rc.d"
mkdir "$tree/etc/postgresql-common"
echo 'create_main_cluster = false' >"$tree/etc/postgresql-common/createcluster.conf"

# What this machine knows of the way to the packages.
cp "$conf" "$tree/etc/apt/apt.conf.d/99host"
cp /etc/resolv.conf "$tree/etc/resolv.conf"

mount -t proc proc "$tree/proc"
export DEBIAN_FRONTEND=noninteractive
chroot "$tree" apt-get -qq update
chroot "$tree" apt-get -qq install -y --no-install-recommends -o Dpkg::Options::=--force-confold \
    -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0 "$@" >&2
umount "$tree/proc"

rm -rf "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/* "$tree"/usr/share/{doc,man,locale}/*
# PostgreSQL compiles large queries with it: a quarter of the archive, and no query of the tests is large.
rm "$tree"/usr/lib/*/libLLVM*
rm "$tree/etc/apt/apt.conf.d/99host" "$tree/usr/sbin/policy-rc.d"
tar -C "$tree" --one-file-system --numeric-owner --xattrs -cf "$out" .
