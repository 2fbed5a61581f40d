//! Random operations on SQLite and in memory: both must always show the same.

use proptest::collection::vec;
use proptest::prelude::*;
use staffel_store::{Log, MemoryLog, ReadLog, SqliteLog, Tree, root, sign_checkpoint};

use crate::support::{directory, entry, signer, sound};

#[derive(Debug, Clone)]
enum Operation {
    Append { back: u64, count: usize },
    Erase(u64),
    Sign,
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (0..3_u64, 0..5_usize).prop_map(|(back, count)| Operation::Append { back, count }),
        1 => (0..20_u64).prop_map(Operation::Erase),
        1 => Just(Operation::Sign),
        1 => Just(Operation::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_and_memory_agree(operations in vec(operation(), 1..40)) {
        let directory = directory();
        let path = directory.path().join("log.db");
        let mut sqlite = SqliteLog::open(&path).expect("open");
        let memory = MemoryLog::new();
        for (step, operation) in operations.iter().enumerate() {
            match operation {
                Operation::Append { back, count } => {
                    let expected = memory.head().expect("head").saturating_sub(*back);
                    let new: Vec<_> = (0..*count).map(|n| entry(&format!("{step}-{n}"))).collect();
                    prop_assert_eq!(sqlite.append(expected, &new), memory.append(expected, &new));
                }
                Operation::Erase(position) => {
                    prop_assert_eq!(sqlite.erase(*position), memory.erase(*position));
                }
                Operation::Sign => {
                    prop_assert_eq!(sign_checkpoint(&sqlite, &signer()), sign_checkpoint(&memory, &signer()));
                }
                Operation::Reopen => {
                    drop(sqlite);
                    sqlite = SqliteLog::open(&path).expect("open again");
                }
            }
        }
        let head = memory.head().expect("head");
        prop_assert_eq!(sqlite.head(), Ok(head));
        prop_assert_eq!(sqlite.read(0, usize::MAX), memory.read(0, usize::MAX));
        prop_assert_eq!(sqlite.hash_range(0, usize::MAX), memory.hash_range(0, usize::MAX));
        prop_assert_eq!(sqlite.checkpoints(), memory.checkpoints());
        for size in 0..=head {
            prop_assert_eq!(root(&sqlite, size), root(&memory, size));
        }
        prop_assert_eq!(sound(&sqlite), sound(&memory));
    }
}
