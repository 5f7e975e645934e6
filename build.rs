//! Pages (in release builds) and migrations are embedded in the binary, so a change must trigger a build.

fn main() {
    println!("cargo:rerun-if-changed=static");
    println!("cargo:rerun-if-changed=migrations");
}
