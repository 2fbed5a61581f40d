//! What is written is read, and what is broken is counted and costs no other record.

use super::*;
use proptest::prelude::*;

fn three() -> Vec<u8> {
    let mut batch = Vec::new();
    let catalogue = Catalogue::linux();
    for (n, image) in ["/bin/sh", "/bin/true", "/usr/bin/id"].into_iter().enumerate() {
        let named = [("Image", Value::Text(image)), ("ProcessId", Value::Number(n as i64))];
        assert_eq!(encode(&mut batch, &catalogue, n as u64, 0, named), 0);
    }
    batch
}

fn image(catalogue: &Catalogue) -> Slot {
    catalogue.classes[0].slot("Image").expect("it is there").0
}

#[test]
fn what_is_written_is_read_by_name() {
    let catalogue = Catalogue::linux();
    let batch = three();
    let mut read = Batch::new(&batch, &catalogue);
    let images: Vec<_> = read.by_ref().map(|record| (record.sequence, record.value(image(&catalogue)))).collect();
    assert_eq!(images[2], (2, Some(Value::Text("/usr/bin/id"))));
    assert_eq!((images.len(), read.dropped), (3, 0));
}

#[test]
fn an_unexpected_number_of_fields_drops_one_record_and_no_other() {
    let catalogue = Catalogue::linux();
    let mut batch = three();
    // The second record says that it has one field more.
    let second = 4 + u32::from_le_bytes(batch[..4].try_into().unwrap()) as usize;
    batch[second + 14] += 1;
    let mut read = Batch::new(&batch, &catalogue);
    let sequences: Vec<_> = read.by_ref().map(|record| record.sequence).collect();
    assert_eq!((sequences, read.dropped), (vec![0, 2], 1));
}

#[test]
fn a_field_of_another_type_or_class_is_left_out_and_counted() {
    let mut batch = Vec::new();
    let named = [("Image", Value::Number(1)), ("Message", Value::Text("x")), ("User", Value::Text("root"))];
    assert_eq!(encode(&mut batch, &Catalogue::linux(), 0, 0, named), 2);
    assert_eq!(encode(&mut batch, &Catalogue::linux(), 0, 99, named), 1);
    assert_eq!(Batch::new(&batch, &Catalogue::linux()).count(), 1);
}

#[test]
fn a_text_that_is_too_long_is_cut_at_a_character() {
    let text = "ä".repeat(LONGEST_TEXT);
    let mut batch = Vec::new();
    let catalogue = Catalogue::linux();
    encode(&mut batch, &catalogue, 0, 0, [("Image", Value::Text(&text))]);
    let record = Batch::new(&batch, &catalogue).next().expect("it is read");
    assert_eq!(record.texts().next().map(str::len), Some(LONGEST_TEXT));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let catalogue = Catalogue::linux();
        let mut batch = Batch::new(&bytes, &catalogue);
        let read = batch.by_ref().count() as u64;
        // Each record, good or bad, took at least its length's four bytes, but for a torn end.
        prop_assert!(read + batch.dropped <= bytes.len() as u64 / 4 + 1);
    }

    #[test]
    fn a_changed_byte_costs_no_record_uncounted(at in 0usize..200, to in any::<u8>()) {
        let catalogue = Catalogue::linux();
        let mut bytes = three();
        let at = at % bytes.len();
        bytes[at] = to;
        let mut batch = Batch::new(&bytes, &catalogue);
        let read = batch.by_ref().count();
        prop_assert!(read == 3 || batch.dropped > 0);
    }
}
