//! Integration tests of the sensor, on real evaluator processes: one binary.

mod device;
mod hostile;
mod july;
mod kills;
mod program;
mod support;
mod swap;
mod walls;
