//! The pack that comes with the sensor.

use staffel_pack::{Catalogue, Evaluator, Pack, vectors};
use std::path::Path;

const SHIPPED: &str = "../pack/src/linux.pack.json";

/// The rules are what people edit, the file is what devices carry. To renew it:
/// `staffel pack build packs/linux --out crates/pack/src/linux.pack.json`
#[test]
fn it_is_what_its_rules_say() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = staffel_sigma::build(&here.join("../../packs/linux")).unwrap_or_else(|complaints| {
        panic!("{}", complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    let shipped = Pack::read(&std::fs::read(here.join(SHIPPED)).expect("it is there")).expect("it is a pack");
    assert_eq!(built, shipped, "the rules changed: build the pack again");
    assert_eq!(built.write(), shipped.write());
    assert_eq!(Pack::builtin(), shipped);

    let catalogue = Catalogue::linux();
    let mut evaluator = Evaluator::bind(&shipped, &catalogue).expect("it fits");
    assert_eq!(vectors::run(&shipped, &catalogue, &mut evaluator), []);
    eprintln!("SHOW built-in pack: {} rules, {} examples", shipped.rules.len(), shipped.vectors.len());
}
