//! Compiles the evaluator guest beforehand: `staffel-precompile IN.wasm OUT.cwasm ...`. The settings are those of
//! `crates/sensor/src/engine.rs`, and the runtime refuses code that was compiled with others.

use std::{env, error::Error, fs, process::ExitCode};
use wasmtime::{Config, Engine};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("staffel-precompile: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut config = Config::new();
    // Without the map from code to source: nobody reads a backtrace on a device.
    config.consume_fuel(true).epoch_interruption(true).generate_address_map(false);
    // Named, so that no feature of this machine's processor gets in: devices are older, and would refuse the code.
    config.target(&format!("{}-unknown-linux-gnu", env::consts::ARCH))?;
    let engine = Engine::new(&config)?;
    let files: Vec<String> = env::args().skip(1).collect();
    if files.is_empty() || !files.len().is_multiple_of(2) {
        return Err("give pairs of files: IN.wasm OUT.cwasm".into());
    }
    for pair in files.chunks_exact(2) {
        let code = engine.precompile_module(&fs::read(&pair[0])?).map_err(|error| format!("{}: {error:#}", pair[0]))?;
        fs::write(&pair[1], &code)?;
        println!("{}: {} bytes", pair[1], code.len());
    }
    Ok(())
}
