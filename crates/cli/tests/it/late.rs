//! Who comes after the end and who goes first: a machine that is off keeps no rollout open and is brought up to date when it
//! is back, one that joins late gets what is completed, and a release that repairs reaches the hurt before all others.

use crate::fleet::{Fleet, show};
use staffel_cli::lab::{Options, Spec};
use staffel_core::{evidence::Arm, ids::DeviceId, rollout::Event};
use staffel_server::engine::record::Record;

const AT_ONCE: [(u64, u32); 1] = [(0, 100)];

#[test]
fn a_machine_that_is_off_is_left_out_by_name_and_brought_up_to_date_like_one_that_joins_late() {
    let mut fleet = Fleet::new(3, Options::default());
    fleet.lab.switch_off(2);
    let id = fleet.ship(&fleet.rules(1), &AT_ONCE);
    let view = fleet.ended(id);
    assert_eq!((view.state.as_str(), view.confirmed, view.exposed), ("completed", 2, 0), "{view:?}");
    assert!(view.why.contains("left out: 1 not heard lately: clinic/ward-b/pc-3"), "{}", view.why);
    show("left out", &view.why);

    // It is back; another one of a kind that nobody had joins.
    fleet.lab.switch_on(2).expect("it is switched on");
    let spec =
        Spec { tenant: "clinic", site: "ward-c", name: "pc-4", os_build: "debian-13.0", hardware_model: "terminal-x2" };
    fleet.lab.machine(spec).expect("a machine");
    fleet.all_run("rules", "1");
    fleet.wait("the rollout to know of both", |lab| {
        let view = lab.client()?.rollout(id)?;
        Ok(view.state == "completed" && view.confirmed == 4 && view.exposed == 0)
    });
    let view = fleet.rollout(id);
    assert!(view.why.contains("since then 2 more have it"), "{}", view.why);
    // A restart knows the same.
    fleet.lab.kill_server();
    fleet.lab.start_server().expect("the server starts");
    let again = fleet.rollout(id);
    assert_eq!((again.confirmed, again.devices, again.why), (4, 4, view.why));
    fleet.log_is_sound();
}

/// Ends a service at once; what breaks it is on the machines and not on the gate's.
const ENDS: &str = "[ -e \"$1/../../../breaks\" ] && exit 1";

#[test]
fn a_release_that_repairs_reaches_the_hurt_device_first() {
    let mut fleet = Fleet::new(4, Options::default());
    for machine in &fleet.lab.machines {
        std::fs::write(machine.folder.join("breaks"), "").expect("written");
    }
    let view = fleet.ended(fleet.ship(&fleet.counter(1, ""), &AT_ONCE));
    assert_eq!((view.state.as_str(), view.confirmed), ("completed", 4), "{view:?}");
    let bad = fleet.ship(&fleet.counter(2, ENDS), &AT_ONCE);
    let view = fleet.ended(bad);
    assert_eq!((view.state.as_str(), view.failed), ("halted", 1), "{view:?}");
    fleet.supersedes = Some(bad);
    let repair = fleet.ship(&fleet.counter(3, ""), &AT_ONCE);
    let view = fleet.ended(repair);
    assert_eq!((view.state.as_str(), view.confirmed), ("completed", 4), "{view:?}");
    fleet.all_run("counter", "3");
    fleet.lab.stop_server();
    let treated = |rollout: u64| -> Vec<DeviceId> {
        let granted = fleet.log().into_iter().filter_map(|(_, _, record)| match record {
            Record::PermitGranted { rollout: of, device, arm: Arm::Treated, .. } if of == rollout => Some(device),
            _ => None,
        });
        granted.collect()
    };
    let (hurt, repaired) = (treated(bad), treated(repair));
    assert_eq!(repaired.first(), hurt.first(), "{hurt:?} {repaired:?}");
    let failed = fleet.log().into_iter().filter(|(_, _, record)| {
        matches!(record, Record::Rollout { rollout, event: Event::Failed { .. } } if *rollout == repair)
    });
    assert_eq!(failed.count(), 0);
}
