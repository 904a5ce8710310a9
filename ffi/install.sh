#!/bin/sh
# Puts what a C program needs of dhow below a prefix: the header, both libraries, dhow.pc, and the helper where the
# library looks for it. BUILD is where cargo put them: target/release.
#
#   ffi/install.sh BUILD PREFIX          DESTDIR, if set, stands before every path but those inside dhow.pc
set -eu

[ $# -eq 2 ] || { echo "usage: $0 BUILD PREFIX" >&2; exit 2; }
build=$1
prefix=$2
here=$(cd "$(dirname "$0")" && pwd)
to=${DESTDIR:-}$prefix
version=$("$build/dhow" --version | sed -n 's/^dhow version //p')
[ -n "$version" ] || { echo "$0: $build/dhow does not tell its version" >&2; exit 1; }

install -d "$to/bin" "$to/lib/pkgconfig" "$to/include"
install -m 755 "$build/dhow" "$to/bin/dhow"
install -m 644 "$here/../include/dhow.h" "$to/include/dhow.h"
install -m 644 "$build/libdhow.a" "$to/lib/libdhow.a"
install -m 755 "$build/libdhow.so" "$to/lib/libdhow.so.$version"
# The first is what programs ask for when they run (the SONAME), the second what they are linked with.
ln -sf "libdhow.so.$version" "$to/lib/libdhow.so.0"
ln -sf libdhow.so.0 "$to/lib/libdhow.so"
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" "$here/dhow.pc.in" >"$to/lib/pkgconfig/dhow.pc"
