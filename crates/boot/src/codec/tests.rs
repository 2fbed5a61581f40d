use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(sequence in any::<u64>(), body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = encode("state", sequence, &body);
        prop_assert_eq!(decode("state", &bytes), Ok((sequence, &body[..])));
        prop_assert_eq!(decode("keyring", &bytes), Err(CodecError::Name { found: "state".into() }));
    }

    #[test]
    fn any_flipped_bit_is_noticed(body in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>(), bit in 0..8u8) {
        let mut bytes = encode("state", 7, &body);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        prop_assert!(decode("state", &bytes).is_err());
    }

    #[test]
    fn any_cut_or_tail_is_noticed(body in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>(), tail in 1..9usize) {
        let mut bytes = encode("state", 7, &body);
        let at = at % bytes.len();
        prop_assert!(decode("state", &bytes[..at]).is_err());
        bytes.extend(std::iter::repeat_n(b'x', tail));
        prop_assert!(decode("state", &bytes).is_err());
    }

    #[test]
    fn nonsense_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "staffel-record [ -~\n]{0,120}") {
        prop_assert!(decode("state", &bytes).is_err());
        prop_assert!(decode("state", text.as_bytes()).is_err());
    }
}

fn folder() -> (tempfile::TempDir, Records) {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(folder.path());
    (folder, records)
}

#[test]
fn the_newest_copy_that_holds_is_taken_and_the_damage_is_said() {
    let (_folder, mut records) = folder();
    for value in [1u32, 2, 3] {
        records.save("state", &value, Outlives::PowerCut).unwrap();
    }
    let [first, second] = records.copies("state");
    std::fs::write(&first, "torn").unwrap();
    let loaded = records.load::<u32>("state").unwrap();
    assert_eq!((loaded.value, loaded.damaged.len()), (3, 1));
    std::fs::write(&second, "").unwrap();
    let Err(RecordError::Lost { why, .. }) = records.load::<u32>("state") else { panic!("both copies are gone") };
    assert_eq!(why.len(), 2);
}

#[test]
fn an_older_second_copy_does_not_win() {
    let (_folder, mut records) = folder();
    records.save("state", &1u32, Outlives::Process).unwrap();
    let [_, second] = records.copies("state");
    let old = std::fs::read(&second).unwrap();
    records.save("state", &2u32, Outlives::Process).unwrap();
    std::fs::write(&second, old).unwrap();
    assert_eq!(records.load::<u32>("state").unwrap().value, 2);
    records.save("state", &3u32, Outlives::Process).unwrap();
    assert_eq!(Records::new(&records.folder).load::<u32>("state").unwrap().value, 3);
}

#[test]
fn a_body_of_another_shape_counts_as_damage() {
    let (_folder, mut records) = folder();
    records.save("state", &"text", Outlives::Process).unwrap();
    assert!(matches!(records.load::<u32>("state"), Err(RecordError::Lost { .. })));
}

#[test]
fn a_write_that_fails_leaves_the_old_record_and_no_temporary_file() {
    let (folder, mut records) = folder();
    records.save("state", &1u32, Outlives::PowerCut).unwrap();
    std::fs::create_dir(folder.path().join("state.tmp")).unwrap();
    assert!(matches!(records.save("state", &2u32, Outlives::PowerCut), Err(RecordError::Io(_))));
    assert_eq!(records.load::<u32>("state").unwrap().value, 1);
}
