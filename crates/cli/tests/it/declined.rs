//! A customer freezes its devices after one of them was permitted: the device gives its permit back, nobody is halted, and
//! it gets the release once it may.

use crate::{
    fleet::{Fleet, show},
    lying::{guard::Guard, now_ms},
};
use staffel_cli::lab::Options;
use staffel_core::policy::CustomerPolicy;
use staffel_server::engine::record::Record;
use staffel_statement::{
    bundle::Bundle,
    guard::{Command, Reply},
    predicate::{Headed, Header, TenantPolicy, sign},
};

const AT_ONCE: [(u64, u32); 1] = [(0, 100)];
/// The machine whose guard knows better.
const SHY: usize = 1;

/// The customer's freeze reaches the guard of one machine before server and agent know of it.
fn freeze_behind_the_servers_back(fleet: &Fleet) {
    let policy = CustomerPolicy { freeze: Some("quarter end".into()), ..CustomerPolicy::default() };
    let header = Header { issued_ms: now_ms(), expires_ms: u64::MAX, ..Header::default() };
    let body = TenantPolicy { tenant: "clinic".into(), sequence: 2, policy };
    let key = fleet.lab.layout.signing_key("tenant-clinic").expect("the customer's key");
    let bundle = Bundle { policy: Some(sign(&Headed { header, body }, &[&key])), ..Bundle::default() };
    let reply = Guard::new(&fleet.lab.machines[SHY].folder).ask(&Command::Arm { bundle: Box::new(bundle) });
    assert!(matches!(reply, Reply::Refused { .. }), "{reply:?}");
}

#[test]
fn a_permit_that_a_device_may_not_use_comes_back_and_halts_nobody() {
    let mut fleet = Fleet::new(3, Options::default());
    freeze_behind_the_servers_back(&fleet);
    let id = fleet.ship(&fleet.rules(1), &AT_ONCE);
    fleet.wait("the permit to come back and the others to be through", |lab| {
        let view = lab.client()?.rollout(id)?;
        // A busy machine may be silent for a while; that one says no and is heard.
        let is_about_it = view.state == "held" && view.why.contains("pc-2");
        assert!(view.state != "halted" && !is_about_it, "a false alarm: {view:?}");
        Ok(view.withdrawn > 0 && view.confirmed == 2)
    });
    let view = fleet.rollout(id);
    assert_eq!((view.failed, view.silent, view.confirmed), (0, 0, 2), "{view:?}");
    let id_text = id.to_string();
    let why = fleet.lab.staffel_ok(&["rollout", "why", &id_text]).expect("it answers");
    let line = why.lines().find(|line| line.contains("gave its permit back unused")).unwrap_or_default();
    assert!(line.contains("clinic/ward-a/pc-2") && line.contains("condition 5"), "{why}");
    show("declined", line.trim());
    fleet.wait("the device's own page to say so", |lab| {
        let why = lab.staffel_ok(&["device", "why", "clinic/ward-a/pc-2"])?;
        Ok(why.contains("gave its permit back unused") && why.contains("condition 5"))
    });

    // The server learns of the freeze, and of its end.
    for _ in 0..2 {
        fleet.lab.tenant("clinic", CustomerPolicy::default()).expect("a policy");
    }
    let view = fleet.ended(id);
    assert_eq!((view.state.as_str(), view.confirmed, view.failed), ("completed", 3, 0), "{view:?}");
    fleet.all_run("rules", "1");
    fleet.lab.stop_server();
    let records = fleet.log();
    let of = |wanted: &str| records.iter().filter(|(_, _, record)| Record::kind(record) == wanted).count();
    assert!(of("rollout.withdrawn") >= 1 && of("rollout.halted") == 0 && of("rollout.failed") == 0);
}
