//! The pages are embedded in release builds: changed ones must be built in again.

fn main() {
    println!("cargo:rerun-if-changed=static");
    println!("cargo:rerun-if-changed=migrations");
}
