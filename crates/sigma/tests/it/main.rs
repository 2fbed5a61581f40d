//! Integration tests of the compiler: one binary.

mod builtin;
mod complaints;
mod import;
mod oracle;
