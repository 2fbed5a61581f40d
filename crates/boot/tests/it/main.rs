//! The real `guard-ctl` program with real processes, signed statements and a folder of its own for each test.

mod bad_changes;
mod below;
mod crash_loops;
mod good_life;
mod hostile;
mod intake;
mod killed;
mod lost_records;
mod remedies;
mod support;
mod traces;
