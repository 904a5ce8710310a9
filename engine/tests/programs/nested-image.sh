#!/usr/bin/env bash
# nested-image.sh OUT TREE BUSYBOX STORES: makes one image of three nasty layers, and writes to OUT
#   tree.txt          what the program TREE says of it, mounted by its maker
#   docker.tar        docker-archive, by buildah
#   docker.tar.gz     the same, compressed as a whole
#   podman.tar        docker-archive, by podman save
#   oci.tar           oci-archive, by podman save (layers gzip)
#   oci.tar.zst       the same, compressed as a whole with zstd
#   oci/              OCI layout, by skopeo
#   oci-zstd.tar      oci-archive with zstd layers, by skopeo
# Run in a mount namespace of its own: the tools leave mounts behind, below STORES.
set -euo pipefail
out=$1 tree=$2 busybox=$3 store=$4
stores=(--root "$store/root" --runroot "$store/run" --storage-driver overlay)
buildah() { command buildah "${stores[@]}" "$@"; }
podman() { command podman "${stores[@]}" --cgroup-manager cgroupfs "$@"; }
# skopeo takes stores as part of a name.
image="containers-storage:[overlay@$store/root+$store/run]localhost/nested:latest"

# Layer 1: every sort of file. The mount points of a container exist, so that running it changes nothing.
container=$(buildah from scratch)
root=$(buildah mount "$container")
mkdir -p "$root"/{bin,dev,etc,mnt,proc,sys,sticky,deep/er/still,lists,empty,gone-directory/with/files,opaque/old,replaced-by-file,links,devices}
cp "$busybox" "$root/bin/busybox"
for applet in sh true ls cat sleep; do ln -s busybox "$root/bin/$applet"; done
: >"$root/etc/hosts"; : >"$root/etc/hostname"; : >"$root/etc/resolv.conf"; ln -s /proc/mounts "$root/etc/mtab"
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
chmod 1777 "$root/sticky"
cp "$busybox" "$root/bin/setuid"; chown 12:34 "$root/bin/setuid"; chmod 6755 "$root/bin/setuid"
printf 'one' >"$root/links/a"; ln "$root/links/a" "$root/links/b"; ln "$root/links/a" "$root/deep/er/c"
ln -s ../links/a "$root/deep/symlink"; ln -s /nowhere/at/all "$root/deep/dangling"; ln -s . "$root/deep/loop"
chown -h 7:8 "$root/deep/symlink"
mkfifo -m 640 "$root/devices/pipe"; mknod -m 600 "$root/devices/null" c 1 3; mknod -m 660 "$root/devices/disk" b 7 200
printf 'attributes' >"$root/attributes"
setfattr() { python3 -c 'import os,sys; os.setxattr(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]), follow_symlinks=False)' "$@"; }
if ! command -v python3 >/dev/null; then
    setfattr() { "$busybox" setfattr -n "$2" -v "0x$3" "$1"; }
fi
setfattr "$root/attributes" user.empty ""
setfattr "$root/attributes" user.binary 00ff0a22
setfattr "$root/deep" user.on-a-directory 6869
# cap_net_raw=ep, version 2 (capabilities(7)).
setfattr "$root/bin/setuid" security.capability 0100000200200000000000000000000000000000
truncate -s 3M "$root/sparse"; printf 'end' >>"$root/sparse"
printf 'many bytes' >"$root/$(printf 'long-name-%.0s' {1..24})"
long=$root; for part in {1..12}; do long=$long/directory-with-a-rather-long-name-$part; done
mkdir -p "$long"; echo deep >"$long/file"
printf 'umlaut' >"$root/lists/ü ñ
newline"
printf 'large ids' >"$root/lists/ids"; chown 4000000000:3999999999 "$root/lists/ids"
printf 'old' >"$root/lists/before-1970"; touch -d '1965-03-04 05:06:07 UTC' "$root/lists/before-1970"
printf 'future' >"$root/lists/after-2038"; touch -d '2099-01-02 03:04:05 UTC' "$root/lists/after-2038"
printf 'x' >"$root/lists/no-permissions"; chmod 0 "$root/lists/no-permissions"
printf 'gone' >"$root/gone-file"; printf 'gone' >"$root/gone-directory/with/files/f"
printf 'hidden' >"$root/opaque/hidden"; printf 'hidden' >"$root/opaque/old/hidden"
printf 'x' >"$root/replaced-by-file/x"; printf 'x' >"$root/replaced-by-directory"
printf 'same' >"$root/only-mode-changes"
printf 'back' >"$root/comes-back"
for i in {1..300}; do printf '%s' "$i" >"$root/lists/n$i"; done
find "$root/lists" "$root/deep" -exec touch -h -d '2001-02-03 04:05:06.789 UTC' {} +
touch -d '1965-03-04 05:06:07 UTC' "$root/lists/before-1970"
touch -d '2099-01-02 03:04:05 UTC' "$root/lists/after-2038"
buildah config --cmd /bin/true --env LAYER=1 --label made-by=buildah "$container" >/dev/null
buildah umount "$container" >/dev/null
buildah commit --quiet "$container" localhost/nested:1 >/dev/null

# Layer 2: takes away, hides, replaces.
container=$(buildah from --pull-never localhost/nested:1)
root=$(buildah mount "$container")
rm "$root/gone-file"; rm -r "$root/gone-directory"
rm -r "$root/opaque"; mkdir "$root/opaque"; printf 'new' >"$root/opaque/new"
rm -r "$root/replaced-by-file"; printf 'file now' >"$root/replaced-by-file"
rm "$root/replaced-by-directory"; mkdir "$root/replaced-by-directory"; printf 'y' >"$root/replaced-by-directory/y"
chmod 4711 "$root/only-mode-changes"; rm "$root/comes-back"
rm "$root/lists/n7"; printf 'changed' >"$root/lists/n8"
mkdir "$root/links/second"; printf 'two' >"$root/links/second/a"; ln "$root/links/second/a" "$root/links/second/b"
buildah umount "$container" >/dev/null
buildah commit --quiet "$container" localhost/nested:2 >/dev/null

# Layer 3: on top of what is gone.
container=$(buildah from --pull-never localhost/nested:2)
root=$(buildah mount "$container")
printf 'again' >"$root/comes-back"; mkdir -p "$root/gone-directory/anew"
printf 'and again' >"$root/opaque/hidden"; rm -r "$root/empty"
buildah config --env LAYER=3 --workingdir /deep "$container" >/dev/null
buildah umount "$container" >/dev/null
buildah commit --quiet "$container" localhost/nested:latest >/dev/null

# What its maker shows: a container of the final image, untouched.
container=$(buildah from --pull-never localhost/nested:latest)
root=$(buildah mount "$container")
"$tree" "$root" dev mnt proc sys etc/hosts etc/hostname etc/resolv.conf >"$out/tree.txt"
buildah umount "$container" >/dev/null

buildah push --quiet localhost/nested:latest "docker-archive:$out/docker.tar:localhost/nested:latest"
gzip -1 --keep "$out/docker.tar"
podman save --quiet --format docker-archive -o "$out/podman.tar" localhost/nested:latest
podman save --quiet --format oci-archive -o "$out/oci.tar" localhost/nested:latest
zstd -q -1 "$out/oci.tar" -o "$out/oci.tar.zst"
skopeo copy --quiet "$image" "oci:$out/oci:localhost/nested:latest"
skopeo copy --quiet --dest-compress-format zstd --dest-compress "$image" "oci-archive:$out/oci-zstd.tar:localhost/nested:latest"
