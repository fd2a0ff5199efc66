//! Linker arguments that are for the program alone: tests and examples unwind.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/link.ld");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rustc-link-arg-bins=-T{script}");
    // Packed relocations: the usual form takes 24 bytes for each of some 1,500 pointers. The start-up
    // code that comes with Rust 1.93 or newer (musl 1.2.5) reads them.
    println!("cargo:rustc-link-arg-bins=--pack-dyn-relocs=relr");
}
