//! What is simulated: fleet, release, fault, and the policies that are compared. Read from a text file (`text` says its form),
//! or made up from a seed (`seeds`). Must stay out: running it.

use crate::text::{ScenarioError, Section, one_of, seconds, share, split, whole, yes};
use staffel_core::{conditions::Unit, profile::ProfileName, release::Kind};

/// The most devices that a scenario may have.
pub const MOST_DEVICES: u64 = 20_000_000;

/// One scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    pub name: String,
    /// Why it is there.
    pub why: String,
    pub seed: u64,
    /// The simulation ends after this time at the latest, seconds.
    pub horizon_s: u32,
    pub fleet: FleetSpec,
    pub kind: Kind,
    pub fault: Option<Fault>,
    pub outage: Option<Outage>,
    /// What happens to our server and to its messages.
    pub server: Option<ServerFaults>,
    /// Another product's rollout beside it, in which nothing is wrong.
    pub second: Option<Second>,
    pub policies: Vec<Policy>,
}

/// The machines. Times in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetSpec {
    pub devices: u32,
    pub customers: u32,
    pub devices_per_site: u32,
    pub os_builds: u32,
    /// With a long tail: model `k` (from 0) has a share in proportion to `1 / (k + 1)`.
    pub hardware_models: u32,
    /// The first device of each site is its server; the others reach nobody while it is down.
    pub site_servers: bool,
    /// Share of permits, of both arms, after which the device goes silent although nothing is wrong with the release.
    pub silent: f64,
    pub silent_for_s: u32,
    /// Share of devices that are off from 18:00 to 07:00 and at weekends, in their own time zone.
    pub night_off: f64,
    /// Share of these that say goodbye when they are switched off.
    pub goodbye: f64,
    pub time_zones: u32,
    /// Share of devices on a slow network: their downloads take ten times as long.
    pub slow: f64,
    /// Mean time of a download, of applying a release, and of a boot.
    pub download_s: u32,
    pub apply_s: u32,
    pub boot_s: u32,
    /// Machines have Staffel's guard, which brings them back by itself.
    pub guard: bool,
    /// Mean time until a person has repaired a machine that does not come back by itself.
    pub by_hand_s: u32,
    /// Unix seconds when the rollout starts.
    pub start_s: u64,
    /// Share of devices that join some time within this many seconds after the start.
    pub late: f64,
    pub late_within_s: u32,
    /// Share of devices that are away from the start on, for up to so long, seconds.
    pub away: f64,
    pub away_for_s: u32,
    /// Share of devices whose key turns out, in the first day, to be used by two machines.
    pub cloned: f64,
    /// What a device can prove of the time that has passed lags behind by up to so much, seconds.
    pub lag_s: u32,
    /// A real fleet's own division, in place of the numbers above.
    pub shares: Option<Shares>,
}

/// Devices of each customer, OS build and hardware model of a real fleet; the order means nothing. No list may be empty or
/// add up to 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    pub customers: Vec<u64>,
    pub os_builds: Vec<u64>,
    pub hardware_models: Vec<u64>,
}

/// What the release does to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Dark as soon as the release runs.
    Brick,
    /// Healthy until its next reboot, then dark.
    NextReboot,
    /// The same, and it announces each reboot as an orderly shutdown.
    CleanReboot,
    /// Healthy for hours, until memory or disk is full, then dark.
    Leak,
    /// Alive, goes back by itself and says so.
    Reported,
    /// Alive and cut off: goes back because nobody answers.
    CutOff,
    /// Dark, and yet reported as healthy: what would happen if silence did not count.
    Forged,
}

/// The fault of a release.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub harm: Harm,
    /// Share of the devices concerned.
    pub probability: f64,
    /// Only devices of this OS build or hardware model, or `server`.
    pub only: Option<String>,
    /// The guard can start the version before; otherwise people have to come.
    pub guard_helps: bool,
    /// The next reboot comes after at most this time, a leak kills in the second half of it; seconds.
    pub within_s: u32,
}

/// What happens to our server and to messages. Only in fleets of up to [`MOST_WITH_FAULTS`] devices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerFaults {
    /// It dies so often, each time over an event that it is about to write or has just written, within this time.
    pub crashes: u32,
    pub within_s: u32,
    /// Mean time until it is back, seconds.
    pub away_s: u32,
    /// Share of requests, and of answers, that never arrive.
    pub lost: f64,
    /// Share of reports that arrive a second time, up to ten minutes later, after others that were said later.
    pub repeated: f64,
    /// After each crash a second controller runs beside it for some minutes and then takes over.
    pub two_controllers: bool,
    /// At this time it is restored from a backup that is so old, seconds.
    pub restored_s: Option<u32>,
    pub backup_age_s: u32,
}

/// The most devices of a scenario with server faults: the log is kept and read again.
pub const MOST_WITH_FAULTS: u32 = 100_000;

/// A second rollout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Second {
    pub after_s: u32,
    pub kind: Kind,
}

/// Sites that nobody reaches for a while, both arms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outage {
    pub sites: f64,
    pub from_s: u32,
    pub for_s: u32,
}

/// A policy under its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub name: String,
    pub rule: Rule,
}

/// When how many get the release.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    Staffel(Staffel),
    Peer(Peer),
    /// Somebody has the server's online key, and only the devices stand against it.
    StolenKey(Thief),
}

/// Somebody who has the server's online key: signs a frontier of 100 % and permits for whoever asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Thief {
    /// The profile whose ceiling two releasers had signed.
    pub profile: ProfileName,
    /// Devices look at the board this often, seconds.
    pub poll_s: u32,
    /// Two operators' signed halt reaches devices after this time, seconds.
    pub halted_after_s: u32,
}

/// Our own, decided by `core`.
#[derive(Clone, Debug, PartialEq)]
pub struct Staffel {
    pub profile: ProfileName,
    pub unit: Unit,
    /// The signed ceiling of the profile; otherwise none.
    pub ceiling: bool,
    /// How much larger a wave may be than the one before, percent; the profile's own otherwise.
    pub growth_percent: Option<u32>,
    pub budget: Option<u32>,
    /// A person lets a hold go on after this time, seconds.
    pub resume_after_s: Option<u32>,
    /// After a halt a release without the fault replaces it, this long after.
    pub fix_after_s: Option<u32>,
}

/// A rule of others, modelled from its public description.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub pace: Pace,
    /// A person withdraws the release after this time, seconds.
    pub withdrawn_after_s: Option<u32>,
    /// Devices look for updates this often, seconds.
    pub poll_s: u32,
    /// Stops when at least this share of those that answered reported a failure.
    pub failed_stop: Option<f64>,
    /// Only after so many answers.
    pub failed_after: u64,
    /// Machines go back to the version before by themselves when they do not start.
    pub rolls_back: bool,
}

/// How a peer's rule widens.
#[derive(Clone, Debug, PartialEq)]
pub enum Pace {
    /// At these times (seconds) so many devices in total may have it.
    Waves(Vec<(u32, Amount)>),
    /// The same, and between two entries the share grows evenly.
    Ramp(Vec<(u32, Amount)>),
    /// Groups of this size; the next starts once this share of the group reported success.
    Groups { size: u64, success: f64 },
}

/// A number of devices or a share of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Devices(u64),
    Share(f64),
}

impl Scenario {
    /// Reads a scenario; `file` names it in errors, its stem becomes the scenario's name.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let (why, sections) = split(file, text)?;
        let stem = file.rsplit(['/', '\\']).next().unwrap_or(file);
        let mut scenario = Scenario {
            name: stem.strip_suffix(".txt").unwrap_or(stem).into(),
            why,
            seed: 1,
            horizon_s: 14 * 86_400,
            fleet: FleetSpec::default(),
            kind: Kind::Component,
            fault: None,
            outage: None,
            server: None,
            second: None,
            policies: Vec::new(),
        };
        for section in &sections {
            match section.kind.as_str() {
                "run" => {
                    scenario.seed = section.take("seed", 1, whole(u64::MAX))?;
                    scenario.horizon_s = section.take("ends after", scenario.horizon_s, seconds)?;
                }
                "fleet" => scenario.fleet = fleet(section)?,
                "release" => {
                    scenario.kind = section.take("kind", Kind::Component, one_of(&KINDS))?;
                }
                "fault" => scenario.fault = Some(fault(section)?),
                "outage" => {
                    scenario.outage = Some(Outage {
                        sites: section.take("sites", 1.0, share)?,
                        from_s: section.take("from", 0, seconds)?,
                        for_s: section.take("for", 3_600, seconds)?,
                    });
                }
                "server" => scenario.server = Some(server(section)?),
                "second" => {
                    scenario.second = Some(Second {
                        after_s: section.take("starts after", 0, seconds)?,
                        kind: section.take("kind", Kind::Component, one_of(&KINDS))?,
                    });
                }
                "policy" => scenario.policies.push(policy(section)?),
                other => return Err(section.error(section.line, format!("there is no section [{other}]"))),
            }
            section.finish()?;
        }
        let end = text.lines().count().max(1);
        let missing = |what: &str| ScenarioError { file: file.into(), line: end, what: what.into() };
        if scenario.policies.is_empty() {
            return Err(missing("no [policy NAME] says how the release goes out"));
        }
        scenario.check().map_err(|what| missing(&what))?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        if self.server.is_some() && self.fleet.devices > MOST_WITH_FAULTS {
            return Err(format!("[server] is for fleets of up to {MOST_WITH_FAULTS} devices"));
        }
        let Some(only) = self.fault.as_ref().and_then(|fault| fault.only.as_deref()) else { return Ok(()) };
        let known = |prefix: &str, count: u32| {
            only.strip_prefix(prefix).and_then(|number| number.parse::<u32>().ok()).is_some_and(|n| n < count)
        };
        let server = only == "server" && self.fleet.site_servers;
        if server || known("os-", self.fleet.os_builds) || known("model-", self.fleet.hardware_models) {
            return Ok(());
        }
        Err(format!("the fault is said to hit only {only:?}, and no device is that"))
    }
}

impl Default for FleetSpec {
    fn default() -> Self {
        FleetSpec {
            devices: 1_000,
            customers: 1,
            devices_per_site: 20,
            os_builds: 1,
            hardware_models: 1,
            site_servers: false,
            silent: 0.0,
            silent_for_s: 3_600,
            night_off: 0.0,
            goodbye: 0.9,
            time_zones: 1,
            slow: 0.0,
            download_s: 30,
            apply_s: 45,
            boot_s: 60,
            guard: true,
            by_hand_s: 48 * 3_600,
            // Tuesday, 14 November 2023, 22:13:20 UTC.
            start_s: 1_700_000_000,
            late: 0.0,
            late_within_s: 86_400,
            away: 0.0,
            away_for_s: 7 * 86_400,
            cloned: 0.0,
            lag_s: 0,
            shares: None,
        }
    }
}

impl Default for Staffel {
    fn default() -> Self {
        Staffel {
            profile: ProfileName::Standard,
            unit: Unit::Device,
            ceiling: true,
            growth_percent: None,
            budget: None,
            resume_after_s: None,
            fix_after_s: None,
        }
    }
}

fn fleet(section: &Section) -> Result<FleetSpec, ScenarioError> {
    let none = FleetSpec::default();
    let count = |key: &str, default: u32| {
        let read =
            |text: &str| whole(MOST_DEVICES)(text).and_then(|n| if n == 0 { Err("0 is none".into()) } else { Ok(n) });
        section.take(key, u64::from(default), read).map(|count| count as u32)
    };
    let time = |key: &str, default: u32| section.take(key, default, seconds);
    Ok(FleetSpec {
        devices: count("devices", none.devices)?,
        customers: count("customers", none.customers)?,
        devices_per_site: count("devices per site", none.devices_per_site)?,
        os_builds: count("os builds", none.os_builds)?,
        hardware_models: count("hardware models", none.hardware_models)?,
        site_servers: section.take("site servers", false, yes)?,
        silent: section.take("silent", 0.0, share)?,
        silent_for_s: time("silent for", none.silent_for_s)?,
        night_off: section.take("off at night", 0.0, share)?,
        goodbye: section.take("says goodbye", none.goodbye, share)?,
        time_zones: count("time zones", none.time_zones)?.min(24),
        slow: section.take("slow networks", 0.0, share)?,
        download_s: time("download", none.download_s)?,
        apply_s: time("apply", none.apply_s)?,
        boot_s: time("boot", none.boot_s)?,
        guard: section.take("guard", true, yes)?,
        by_hand_s: time("repaired by hand", none.by_hand_s)?,
        start_s: section.take("starts at", none.start_s, whole(4_102_444_800))?,
        late: section.take("join late", 0.0, share)?.min(0.5),
        late_within_s: time("join within", none.late_within_s)?,
        away: section.take("away", 0.0, share)?,
        away_for_s: time("away for", none.away_for_s)?,
        cloned: section.take("cloned keys", 0.0, share)?,
        lag_s: time("clocks lag", 0)?,
        shares: None,
    })
}

fn fault(section: &Section) -> Result<Fault, ScenarioError> {
    let harms = [
        ("brick", Harm::Brick),
        ("next-reboot", Harm::NextReboot),
        ("clean-reboot", Harm::CleanReboot),
        ("leak", Harm::Leak),
        ("reported", Harm::Reported),
        ("cut-off", Harm::CutOff),
        ("forged", Harm::Forged),
    ];
    Ok(Fault {
        harm: section.take("kind", Harm::Brick, one_of(&harms))?,
        probability: section.take("share", 1.0, share)?,
        only: section.optional("only", |text| Ok(text.to_string()))?,
        guard_helps: section.take("guard helps", true, yes)?,
        within_s: section.take("within", 86_400, seconds)?,
    })
}

fn server(section: &Section) -> Result<ServerFaults, ScenarioError> {
    Ok(ServerFaults {
        crashes: section.take("crashes", 0, whole(10_000))? as u32,
        within_s: section.take("within", 3 * 3_600, seconds)?,
        away_s: section.take("away", 60, seconds)?,
        lost: section.take("lost messages", 0.0, share)?.min(0.5),
        repeated: section.take("repeated messages", 0.0, share)?,
        two_controllers: section.take("two controllers", false, yes)?,
        restored_s: section.optional("restored at", seconds)?,
        backup_age_s: section.take("backup age", 3_600, seconds)?,
    })
}

fn policy(section: &Section) -> Result<Policy, ScenarioError> {
    if section.name.is_empty() {
        return Err(section.error(section.line, "a policy has a name: [policy NAME]"));
    }
    let rules = ["staffel", "waves", "ramp", "groups", "stolen-key"].map(|word| (word, word));
    let rule = match section.take("rule", "staffel", one_of(&rules))? {
        "stolen-key" => Rule::StolenKey(Thief {
            profile: section.take("profile", ProfileName::Standard, one_of(&PROFILES))?,
            poll_s: section.take("poll", 60, seconds)?.max(1),
            halted_after_s: section.take("halted after", 78 * 60, seconds)?,
        }),
        "staffel" => {
            let units = [("device", Unit::Device), ("site", Unit::Site)];
            Rule::Staffel(Staffel {
                profile: section.take("profile", ProfileName::Standard, one_of(&PROFILES))?,
                unit: section.take("unit", Unit::Device, one_of(&units))?,
                ceiling: section.take("ceiling", true, yes)?,
                growth_percent: section.optional("growth", share_above_all)?,
                budget: section.optional("budget", whole(MOST_DEVICES))?.map(|budget| budget as u32),
                resume_after_s: section.optional("resumed after", seconds)?,
                fix_after_s: section.optional("fixed after", seconds)?,
            })
        }
        pace => {
            let pace = match pace {
                "groups" => Pace::Groups {
                    size: section.take("size", 20_000, whole(MOST_DEVICES))?.max(1),
                    success: section.take("success", 0.5, share)?,
                },
                "ramp" => Pace::Ramp(section.take("waves", Vec::new(), waves)?),
                _ => Pace::Waves(section.take("waves", Vec::new(), waves)?),
            };
            if matches!(&pace, Pace::Waves(table) | Pace::Ramp(table) if table.is_empty()) {
                return Err(section.error(section.line, "this rule needs `waves = 0 s: 10, 15 min: 1 %, ...`"));
            }
            Rule::Peer(Peer {
                pace,
                withdrawn_after_s: section.optional("withdrawn after", seconds)?,
                poll_s: section.take("poll", 900, seconds)?,
                failed_stop: section.optional("stops at failed", share)?,
                failed_after: section.take("after answers", 1, whole(MOST_DEVICES))?,
                rolls_back: section.take("rolls back", false, yes)?,
            })
        }
    };
    Ok(Policy { name: section.name.clone(), rule })
}

const KINDS: [(&str, Kind); 3] = [("content", Kind::Content), ("component", Kind::Component), ("os", Kind::Os)];

const PROFILES: [(&str, ProfileName); 4] = [
    ("demo", ProfileName::Demo),
    ("urgent", ProfileName::Urgent),
    ("standard", ProfileName::Standard),
    ("careful", ProfileName::Careful),
];

/// `150 %`: from 101 to 1,000.
fn share_above_all(text: &str) -> Result<u32, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
    percent
        .filter(|percent| (101..=1_000).contains(percent))
        .ok_or_else(|| format!("expected a growth from 101 % to 1000 %, found {text:?}"))
}

/// `0 s: 10, 15 min: 1 %`
fn waves(text: &str) -> Result<Vec<(u32, Amount)>, String> {
    let wave = |text: &str| {
        let (at, amount) = text.split_once(':').ok_or(format!("expected `TIME: AMOUNT`, found {text:?}"))?;
        let amount = match amount.trim() {
            amount if amount.ends_with('%') => Amount::Share(share(amount)?),
            amount => Amount::Devices(whole(MOST_DEVICES)(amount)?),
        };
        Ok::<_, String>((seconds(at.trim())?, amount))
    };
    let table = text.split(',').map(|part| wave(part.trim())).collect::<Result<Vec<_>, _>>()?;
    if table.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err("the times must grow".into());
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "Because.\n\n[fleet]\ndevices = 8_500_000\nsilent = 0.1 % # q\n[policy ours]\nprofile = urgent\n";

    #[test]
    fn a_scenario_is_read() {
        let scenario = Scenario::parse("dir/some.txt", GOOD).unwrap();
        assert_eq!((scenario.name.as_str(), scenario.why.as_str()), ("some", "Because."));
        assert_eq!((scenario.fleet.devices, scenario.fleet.silent), (8_500_000, 0.001));
        assert!(matches!(&scenario.policies[0].rule, Rule::Staffel(ours) if ours.profile == ProfileName::Urgent));
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_line() {
        for (text, expected) in [
            ("", "f.txt:1: a scenario begins"),
            ("Why.\n[fleet]\ndevises = 3\n[policy a]\n", "f.txt:3: [fleet] has no key \"devises\""),
            ("Why.\n[fleet]\ndevices = many\n", "f.txt:3: devices: expected a whole number"),
            ("Why.\n[fleet]\ndevices = 0\n", "f.txt:3: devices: 0 is none"),
            ("Why.\n[fleet]\ndevices = 1\ndevices = 2\n", "f.txt:4: \"devices\" was said in line 3"),
            ("Why.\n[fleet\n", "f.txt:2: a section begins"),
            ("Why.\n[fleet]\nnonsense\n", "f.txt:3: expected `key = value`"),
            ("Why.\n[policy]\n", "f.txt:2: a policy has a name"),
            ("Why.\n[policy a]\nprofile = fast\n", "f.txt:3: profile: expected one of demo, urgent"),
            ("Why.\n[policy a]\nrule = waves\n", "f.txt:2: this rule needs"),
            ("Why.\n[policy a]\nrule = waves\nwaves = 9 min: 1, 2 min: 3\n", "f.txt:4: waves: the times must grow"),
            ("Why.\n[policy a]\nresumed after = 99 d\n", "f.txt:3: resumed after: expected a time"),
            ("Why.\n[fault]\nshare = 101 %\n", "f.txt:3: share: expected a share"),
            ("Why.\n[fault]\nonly = model-1\n[policy a]\n", "f.txt:4: the fault is said to hit only"),
            ("Why.\n[sun]\n", "f.txt:2: there is no section [sun]"),
            ("Why.\n[fleet]\n", "f.txt:2: no [policy NAME]"),
        ] {
            let error = Scenario::parse("f.txt", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
