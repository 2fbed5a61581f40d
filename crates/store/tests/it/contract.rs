//! Every implementation against the promises of `Log`.

use std::cell::Cell;

use staffel_store::{MemoryLog, SqliteLog, contract};

use crate::support::directory;

#[test]
fn memory_keeps_the_contract() {
    contract::check(&|| Box::new(MemoryLog::new()));
}

#[test]
fn sqlite_keeps_the_contract() {
    let directory = directory();
    let count = Cell::new(0);
    contract::check(&|| {
        count.set(count.get() + 1);
        let path = directory.path().join(format!("log-{}.db", count.get()));
        Box::new(SqliteLog::open(path).expect("open"))
    });
}

#[test]
fn sqlite_is_durable() {
    let directory = directory();
    contract::check_durable(&|| Box::new(SqliteLog::open(directory.path().join("log.db")).expect("open")));
}
