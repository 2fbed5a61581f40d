//! Good packs: the rules that come with the sensor, alone and together, and everything that a rule can ask.

use super::{
    Seed,
    make::{ask, glob, like, number, one, plain, text, vector, version},
};
use staffel_pack::{
    Pack,
    format::{Ask, Step, Test},
};

pub fn all() -> Vec<Seed> {
    let mut seeds = shipped();
    seeds.extend(asking());
    seeds.extend(after());
    seeds
}

/// The built-in pack with these rules only.
fn of(rules: &[usize]) -> Pack {
    let mut pack = Pack::builtin();
    let ids: Vec<String> = rules.iter().map(|&at| pack.rules[at].id.clone()).collect();
    pack.name = "seed".into();
    pack.rules.retain(|rule| ids.contains(&rule.id));
    pack.vectors.retain(|vector| ids.contains(&vector.rule));
    pack.needs.retain(|need| pack.rules.iter().any(|rule| rule.class == need.class));
    pack
}

fn shipped() -> Vec<Seed> {
    let count = Pack::builtin().rules.len();
    let mut seeds = vec![Seed::good("all built-in rules", &of(&(0..count).collect::<Vec<_>>()))];
    for at in 0..count {
        seeds.push(Seed::good(format!("built-in rule {at}").leak(), &of(&[at])));
    }
    seeds
}

fn asking() -> Vec<Seed> {
    let image = |tests, matching: &str, other: &str| one(tests, [text("Image", matching)], [text("Image", other)]);
    let user = |asked| one(vec![ask("UserId", asked)], [number("UserId", 4_711)], [number("UserId", 5)]);
    let every = Test { field: Some("Image".into()), every: true, ask: Ask::Like(vec![glob("/opt/*"), glob("*seed*")]) };
    let any = Test { field: None, every: false, ask: Ask::Like(vec![glob("*/opt/seed*")]) };
    let mut not = image(vec![like("Image", "/opt/seed"), like("Image", "*seed*")], "/opt/other-seed", "/opt/seed");
    not.rules[0].condition = vec![Step::Test(0), Step::Not, Step::IfNo(4), Step::Test(1)];
    let mut either = image(vec![like("Image", "/opt/a"), like("Image", "/opt/b")], "/opt/b", "/opt/c");
    either.rules[0].condition[1] = Step::IfYes(3);
    let mut network = plain();
    network.rules[0] = super::make::rule(
        "r",
        "network_connection",
        vec![ask("DestinationIp", Ask::Network(vec!["203.0.113.0/24".into(), "2001:db8::/32".into()]))],
    );
    network.vectors = vec![
        vector("r", true, [text("DestinationIp", "2001:db8::7")]),
        vector("r", false, [text("DestinationIp", "198.51.100.1")]),
    ];
    let network = super::make::pack(network.rules, network.vectors);
    let cased = ask("Image", Ask::LikeCased(vec![glob("/opt/Seed")]));
    let regex = ask("Image", Ask::Regex(vec!["^/opt/seed-[0-9]+$".into()]));
    let present = ask("Container", Ask::Present(true));
    vec![
        Seed::good("upper case and lower case", &image(vec![cased], "/opt/Seed", "/opt/seed")),
        Seed::good("an expression", &image(vec![regex], "/opt/seed-12", "/opt/seed-x")),
        Seed::good("every value", &image(vec![every], "/opt/my-seed", "/opt/other")),
        Seed::good("any field", &image(vec![any], "/opt/seed-1", "/opt/other")),
        Seed::good("not", &not),
        Seed::good("either", &either),
        Seed::good("a number", &user(Ask::Is(vec![4_711]))),
        Seed::good("above", &user(Ask::Above(4_000))),
        Seed::good("at least", &user(Ask::AtLeast(4_711))),
        Seed::good("below", &one(vec![ask("UserId", Ask::Below(-1))], [number("UserId", -2)], [number("UserId", 5)])),
        Seed::good(
            "at most",
            &one(vec![ask("UserId", Ask::AtMost(-2))], [number("UserId", -2)], [number("UserId", 5)]),
        ),
        Seed::good("a network", &network),
        Seed::good("a field that is there", &one(vec![present], [text("Container", "c1")], [text("Image", "/bin/x")])),
    ]
}

fn after() -> Vec<Seed> {
    let all = of(&(0..Pack::builtin().rules.len()).collect::<Vec<_>>());
    let half = of(&(0..Pack::builtin().rules.len() / 2).collect::<Vec<_>>());
    let next = |pack: &Pack| version(pack, pack.version + 1);
    vec![
        Seed::good("the next version, unchanged", &next(&all)).after(&all),
        Seed::good("the next version with twice as many rules", &next(&all)).after(&half),
        Seed::good("the next version with half of the rules", &next(&half)).after(&all),
        Seed::good("a version far ahead", &version(&all, 1 << 40)).after(&all),
        Seed::good("the plain one after itself", &next(&plain())).after(&plain()),
        Seed::good("version 0", &version(&plain(), 0)),
    ]
}
