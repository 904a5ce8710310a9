//! Gives libdhow.so its name for the dynamic linker. The number changes when something that programs rely on is
//! taken away or changed; additions only raise `DHOW_ABI_VERSION`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libdhow.so.0");
    // Calls between our own functions need not go through the symbol table, where a host could come between.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic");
}
