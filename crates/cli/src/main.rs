//! The program; everything is in the library, so that the end-to-end tests can use the same laboratory as the demo.

fn main() -> std::process::ExitCode {
    staffel_cli::main()
}
