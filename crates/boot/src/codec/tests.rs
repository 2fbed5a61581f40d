use super::*;

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
