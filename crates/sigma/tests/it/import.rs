//! Somebody else's collection: what can be used, and why not the rest.

use staffel_pack::{Catalogue, Evaluator};
use std::fs;

#[test]
fn a_report_counts_and_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let rule = |n: u32, source: &str, line: &str| {
        let id = format!("7c1fbb4e-0f1d-4a56-9c0c-3a3b4f6a1a{n:02}");
        let text =
            format!("title: T\nid: {id}\nlogsource:\n  {source}\ndetection:\n  a:\n    {line}\n  condition: a\n");
        fs::create_dir_all(folder.path().join("rules/linux")).expect("a folder");
        fs::write(folder.path().join(format!("rules/linux/{n}.yml")), text).expect("it is written");
    };
    rule(1, "category: process_creation", "Image: /bin/a");
    rule(2, "category: process_creation", "CommandLine|contains|all: [a, b]");
    rule(3, "product: windows", "Image: a");
    rule(4, "product: windows", "Image: b");
    rule(5, "category: process_creation", "IntegrityLevel: System");
    rule(6, "category: process_creation", "Image|re: 'a{1000}{1000}'");
    let catalogue = Catalogue::linux();
    let report = staffel_sigma::import(folder.path(), &catalogue).expect("it is readable");
    assert_eq!((report.files, report.usable, report.rules.len()), (6, 2, 2));
    assert_eq!(report.reasons[0], ("logsource windows/*/*".into(), 2));
    assert!(report.reasons.contains(&("field IntegrityLevel of process_creation".into(), 1)), "{report:?}");
    assert!(report.refused.iter().any(|line| line.starts_with("rules/linux/5.yml:7: ")), "{report:?}");
    let pack = staffel_sigma::pack_of("import", 1, report.rules, &catalogue);
    Evaluator::bind(&pack, &catalogue).expect("what is usable can be used");
    assert!(staffel_sigma::import(&folder.path().join("nothing"), &catalogue).is_err());
}
