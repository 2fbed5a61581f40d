//! Which arrival looks like the cause of the trouble: a one-sided exact test (Fisher 1935) for each, corrected for their
//! number (Bonferroni). What must stay out: acting on it.

use super::{Component, Inventories};
use crate::fleet::DeviceIndex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A component is named if chance alone would bring so much trouble at most so often, over all arrivals together.
pub const LIMIT: f64 = 0.001;
/// And if at least so many of those that got it are in trouble: one or two machines are no pattern.
const AT_LEAST: u64 = 3;

/// An arrival that chance does not explain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    pub component: Component,
    /// Devices that got it in the last day.
    pub got: u64,
    /// Of these, in trouble.
    pub got_in_trouble: u64,
    /// Devices that did not get it.
    pub others: u64,
    /// Of these, in trouble.
    pub others_in_trouble: u64,
    /// How often chance alone would do that, over all arrivals together; at most [`LIMIT`].
    pub chance: f64,
    /// Files that came with it: in none of the versions that these devices had before.
    pub new_files: Vec<super::FileHash>,
    /// The devices in trouble that got it.
    pub devices: Vec<DeviceIndex>,
}

impl Inventories {
    /// The suspects, the least explained by chance first. `troubled`: devices that are silent, in safe mode or start again
    /// and again, and since when, Unix milliseconds; `devices`: all of the fleet. Looks at the troubled ones and at arrivals only.
    ///
    /// Of a device in trouble only what came before the trouble counts, or with its first word after it: what it got
    /// while being mended is no cause.
    pub fn suspects(&self, troubled: &BTreeMap<DeviceIndex, u64>, devices: u64) -> Vec<Suspect> {
        let mut hit: BTreeMap<u32, Vec<DeviceIndex>> = BTreeMap::new();
        for (device, since_ms) in troubled {
            let Some(list) = self.arrivals.get(device) else { continue };
            let first_word = list.iter().map(|arrival| arrival.at_ms).filter(|at_ms| at_ms > since_ms).min();
            let until = first_word.unwrap_or(*since_ms);
            for arrival in list.iter().filter(|arrival| arrival.at_ms <= until) {
                hit.entry(arrival.component).or_default().push(*device);
            }
        }
        let (tests, all_troubled) = (self.got.len() as f64, troubled.len() as u64);
        let mut suspects: Vec<Suspect> = Vec::new();
        for (component, hit) in hit {
            let got = u64::from(self.got.get(&component).copied().unwrap_or(0));
            let in_trouble = hit.len() as u64;
            let chance = tests * tail(devices, all_troubled, got, in_trouble);
            if in_trouble < AT_LEAST || chance > LIMIT {
                continue;
            }
            let component = &self.components[component as usize];
            suspects.push(Suspect {
                new_files: self.new_files(component),
                component: component.clone(),
                got,
                got_in_trouble: in_trouble,
                others: devices.saturating_sub(got),
                others_in_trouble: all_troubled - in_trouble,
                chance,
                devices: hit,
            });
        }
        suspects.sort_by(|a, b| a.chance.total_cmp(&b.chance).then_with(|| a.component.cmp(&b.component)));
        suspects
    }

    /// Files that no other version of the component has.
    fn new_files(&self, component: &Component) -> Vec<super::FileHash> {
        let other = |c: &&Component| c.kind == component.kind && c.name == component.name && *c != component;
        let known: Vec<_> = self.components.iter().filter(other).flat_map(|c| &c.files).collect();
        component.files.iter().filter(|file| !known.contains(file)).cloned().collect()
    }
}

/// Probability that at least `hit` of `drawn` devices are among the `marked` ones of `all`, when drawn at random: the
/// upper tail of the hypergeometric distribution. 1 for counts that can't be.
fn tail(all: u64, marked: u64, drawn: u64, hit: u64) -> f64 {
    if marked > all || drawn > all {
        return 1.0;
    }
    let most = marked.min(drawn);
    // The largest term is near the mean; from `hit` on upwards terms are summed until nothing is added any more.
    let mut sum = 0.0;
    for k in hit..=most {
        if drawn - k > all - marked {
            continue;
        }
        let ln = ln_choose(marked, k) + ln_choose(all - marked, drawn - k) - ln_choose(all, drawn);
        let term = libm::exp(ln);
        sum += term;
        let past_the_mean = k as f64 > marked as f64 * drawn as f64 / all as f64;
        if past_the_mean && term < sum * 1e-12 {
            break;
        }
    }
    f64::min(sum, 1.0)
}

fn ln_choose(n: u64, k: u64) -> f64 {
    let ln_factorial = |n: u64| libm::lgamma(n as f64 + 1.0);
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_of_small_tables_is_exact() {
        // 5 of 24, all 5 in trouble and nobody else: 1 / C(24, 5).
        assert!((tail(24, 5, 5, 5) - 1.0 / 42_504.0).abs() < 1e-12);
        // Fisher's tea: 4 of 4 is 1/70, at least 3 is 17/70.
        assert!((tail(8, 4, 4, 4) - 1.0 / 70.0).abs() < 1e-12);
        assert!((tail(8, 4, 4, 3) - 17.0 / 70.0).abs() < 1e-12);
        assert!((tail(8, 4, 4, 0) - 1.0).abs() < 1e-12);
        assert_eq!(tail(4, 5, 1, 1), 1.0);
    }

    #[test]
    fn tail_holds_at_the_size_of_a_world() {
        // Everybody got it and a thousandth is in trouble: no news about it.
        assert!((tail(8_500_000, 8_500, 8_500_000, 8_500) - 1.0).abs() < 1e-6);
        assert!(tail(8_500_000, 8_500, 85_000, 8_000) < 1e-100);
        let mean = tail(8_500_000, 8_500, 850_000, 850);
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
