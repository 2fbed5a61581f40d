//! The evidence against its specification: the published vectors to 1e-9, the properties that make the tests fair, and
//! extreme inputs. Every expected number stands in the specification or is computed here by a plainer method.

use proptest::prelude::*;
use staffel_core::evidence::{
    Arm, DeadlineQueue, Dimension, Metric, PairCounts, PairDifference, Process, RiskSet, Scope, ScopeValue, Scopes,
    Weights,
    audit::{Audit, read_pairs},
};

const TOLERANCE: f64 = 1e-9;
const T: Arm = Arm::Treated;
const C: Arm = Arm::Control;

/// Treated and control devices at risk, and the arm of the device that had the event.
type Event = (u64, u64, Arm);

fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= TOLERANCE, "{what}: found {found}, expected {expected}");
}

fn process_after(events: &[Event]) -> Process {
    let mut process = Process::new(1.0).unwrap();
    for (treated, control, arm) in events {
        process.observe(*treated, *control, *arm).unwrap();
    }
    process
}

#[test]
fn log_rank_vectors() {
    let vectors: [(&str, &[Event], f64, f64); 4] = [
        ("V0", &[], 0.0, 0.0),
        ("V1", &[(1, 10_000, T)], 3.805789672957, 4.487753741659),
        ("V2", &[(4, 10_000, C)], -0.014391591119, -0.028993328148),
        ("V3", &[(4, 10_000, T), (3, 10_000, T), (2, 10_000, T)], 16.767012270853, 17.460159425282),
    ];
    for (name, events, ln_e, ln_e_wave1) in vectors {
        let process = process_after(events);
        close(process.ln_e(), ln_e, name);
        close(process.ln_e_wave1(), ln_e_wave1, name);
    }
}

#[test]
fn log_rank_vectors_with_a_second_wave() {
    let mut process = process_after(&[(100, 800, C), (100, 799, C), (100, 798, T)]);
    close(process.ln_e(), -0.008335155605, "V5a");
    process.open_wave();
    close(process.ln_e(), -0.008335155605, "V5b, wave opened");
    for (treated, control, arm) in [(200, 1600, T), (199, 1600, T), (198, 1600, C), (198, 1599, T)] {
        process.observe(treated, control, arm).unwrap();
    }
    close(process.ln_e(), 2.563744690325, "V5b");
    close(process.ln_e_wave1(), 2.869258504083, "V5b, E_1");
}

#[test]
fn bound_vectors() {
    for (name, devices, beta, expected) in
        [("W1", 10, 0.01, 0.419843057134), ("W2", 100, 0.01, 0.053682662675), ("W4", 5, 0.05, 0.520056676853)]
    {
        let mut pairs = PairCounts::new();
        for _ in 0..devices {
            pairs.observe(false, 0, 4).unwrap();
        }
        close(pairs.upper_bound(beta).unwrap(), expected, name);
    }
}

#[test]
fn the_audit_format_prints_the_vectors() {
    let text = "# V5b\nevent 100 800 C\nevent 100 799 C\nevent 100 798 T\n\nwave\nevent 200 1600 T\nevent 199 1600 T\n\
                event 198 1600 C\nevent 198 1599 T\n";
    let mut audit = Audit::new(1.0).unwrap();
    let mut printed = Vec::new();
    for (index, line) in text.lines().enumerate() {
        printed.extend(audit.apply(index + 1, line).unwrap().map(|step| step.to_string()));
    }
    assert_eq!(printed.len(), 7);
    assert!(printed[2].starts_with("-0.008335155605 "), "{printed:?}");
    assert_eq!(printed[6], "2.563744690325 2.869258504083");

    let bound = read_pairs("0 40\n0.0 30\n0/7 30\n").unwrap().upper_bound(0.01).unwrap();
    assert_eq!(format!("{bound:.12}"), "0.053682662675");
}

/// All ways to label `units` units with `treated` treated ones, as bit masks.
fn labelings(units: u32, treated: u32) -> impl Iterator<Item = u32> {
    (0..1_u32 << units).filter(move |mask| mask.count_ones() == treated)
}

fn arm_of(mask: u32, unit: u32) -> Arm {
    if mask >> unit & 1 == 1 { T } else { C }
}

/// The failing units in their order; before `wave_before` a wave opens. Gives E, not its logarithm.
fn e_for_labeling(theta0: f64, units: u32, mask: u32, failing: &[u32], wave_before: usize) -> f64 {
    let mut process = Process::new(theta0).unwrap();
    let mut treated = u64::from(mask.count_ones());
    let mut control = u64::from(units) - treated;
    for (position, unit) in failing.iter().enumerate() {
        if position == wave_before {
            process.open_wave();
        }
        let arm = arm_of(mask, *unit);
        process.observe(treated, control, arm).unwrap();
        match arm {
            Arm::Treated => treated -= 1,
            Arm::Control => control -= 1,
        }
    }
    libm::exp(process.ln_e())
}

fn small_trial() -> impl Strategy<Value = (u32, u32, Vec<u32>, usize)> {
    (2_u32..=8).prop_flat_map(|units| {
        let order = Just((0..units).collect::<Vec<_>>()).prop_shuffle();
        (Just(units), 0..=units, order, 0..=units as usize, 0..=units as usize).prop_map(
            |(units, treated, mut order, failing, wave_before)| {
                order.truncate(failing);
                (units, treated, order, wave_before)
            },
        )
    })
}

fn model_and_site() -> Vec<Dimension> {
    vec![
        Dimension { name: "model".to_owned(), fleet_counts: vec![4, 3] },
        Dimension { name: "site".to_owned(), fleet_counts: vec![5, 1, 1] },
    ]
}

/// Two strata, 4 and 3 units (2 and 1 treated), whose failures alternate. Each event uses its own stratum's risk set.
#[test]
fn combined_evidence_is_fair_over_all_labelings_of_two_strata() {
    let failing = [(0, 1), (1, 2), (0, 0), (1, 0), (0, 3)];
    let metrics = [Metric::FirstCheckInMissed, Metric::Crashed];
    let (mut sum, mut count) = (0.0, 0.0);
    for first in labelings(4, 2) {
        for second in labelings(3, 1) {
            let masks = [first, second];
            let mut scopes = Scopes::new(Weights::standard(), 1.0, model_and_site()).unwrap();
            for metric in metrics {
                let mut risk = [RiskSet { treated: 2, control: 2 }, RiskSet { treated: 1, control: 2 }];
                for (stratum, unit) in failing {
                    let arm = arm_of(masks[stratum], unit);
                    // Value 3 of the second dimension is unknown, so that "other" takes part.
                    scopes.observe(metric, arm, &[stratum as u32, unit], risk[stratum]).unwrap();
                    match arm {
                        Arm::Treated => risk[stratum].treated -= 1,
                        Arm::Control => risk[stratum].control -= 1,
                    }
                }
                scopes.open_wave();
            }
            sum += libm::exp(scopes.ln_e_total());
            count += 1.0;
        }
    }
    assert_eq!(count, 18.0);
    close(sum / count, 1.0, "mean of E_total");
}

#[derive(Clone, Debug)]
enum Step {
    Wave,
    Event { metric: Metric, arm: Arm, values: [u32; 2], treated: u64, control: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (0..5_usize, any::<bool>(), [0..4_u32, 0..5_u32], 1..2_000_u64, 1..20_000_u64).prop_map(
        |(metric, is_treated, values, treated, control)| Step::Event {
            metric: Metric::ALL[metric],
            arm: if is_treated { T } else { C },
            values,
            treated,
            control,
        },
    );
    prop::collection::vec(prop_oneof![1 => Just(Step::Wave), 6 => event], 0..30)
}

fn take(scopes: &mut Scopes, step: &Step) {
    match step {
        Step::Wave => scopes.open_wave(),
        Step::Event { metric, arm, values, treated, control } => {
            let risk = RiskSet { treated: *treated, control: *control };
            scopes.observe(*metric, *arm, values, risk).unwrap();
        }
    }
}

/// `E` of one metric and cohort from the definition, with snapshots: the method that the implementation avoids.
fn e_by_snapshots(steps: &[Step], wanted: impl Fn(Metric, [u32; 2]) -> bool) -> f64 {
    let ratios = staffel_core::evidence::logrank::HAZARD_RATIOS;
    let mut likelihood = [0.0_f64; 12];
    let mut snapshots = vec![likelihood];
    for step in steps {
        match step {
            Step::Wave => snapshots.push(likelihood),
            Step::Event { metric, arm, values, treated, control } if wanted(*metric, *values) => {
                let (treated, control) = (1.5 * *treated as f64, *control as f64);
                for (sum, ratio) in likelihood.iter_mut().zip(ratios) {
                    *sum += libm::log((treated + control) / (ratio * treated + control));
                    *sum += if *arm == T { libm::log(ratio) } else { 0.0 };
                }
            }
            Step::Event { .. } => {}
        }
    }
    let mixture: f64 = snapshots
        .iter()
        .zip(1..)
        .map(|(snapshot, wave)| {
            let gains = likelihood.iter().zip(snapshot).map(|(now, then)| libm::exp(now - then));
            gains.sum::<f64>() / 12.0 / f64::from(wave * (wave + 1))
        })
        .sum();
    mixture + 1.0 / (snapshots.len() as f64 + 1.0)
}

fn e_total_by_formula(steps: &[Step]) -> f64 {
    let weights = [0.6, 0.15, 0.05, 0.15, 0.05];
    let dimensions = model_and_site();
    Metric::ALL
        .into_iter()
        .zip(weights)
        .map(|(metric, weight)| {
            let mut inner = 0.75 * e_by_snapshots(steps, |found, _| found == metric);
            for (position, dimension) in dimensions.iter().enumerate() {
                let known = dimension.fleet_counts.len() as u32;
                for value in 0..=known {
                    let count = dimension.fleet_counts.get(value as usize).copied().unwrap_or(0);
                    let share = 0.5 * (1.0 / f64::from(known + 1) + count as f64 / 7.0);
                    let e =
                        e_by_snapshots(steps, |found, values| found == metric && values[position].min(known) == value);
                    inner += 0.25 / dimensions.len() as f64 * share * e;
                }
            }
            weight * inner
        })
        .sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mean_over_all_labelings_is_one((units, treated, failing, wave_before) in small_trial()) {
        let all: Vec<u32> = labelings(units, treated).collect();
        let mean = |theta0: f64| {
            let sum: f64 = all.iter().map(|mask| e_for_labeling(theta0, units, *mask, &failing, wave_before)).sum();
            sum / all.len() as f64
        };
        prop_assert!((mean(1.0) - 1.0).abs() <= TOLERANCE, "{}", mean(1.0));
        // With an allowance for restarts the bet is unfavourable to whoever claims harm, never favourable.
        prop_assert!(mean(1.5) <= 1.0 + TOLERANCE, "{}", mean(1.5));
    }

    #[test]
    fn opening_a_wave_leaves_the_evidence_unchanged(steps in steps(), waves in 1..50_usize) {
        let mut scopes = Scopes::new(Weights::standard(), 1.5, model_and_site()).unwrap();
        steps.iter().for_each(|step| take(&mut scopes, step));
        let before = scopes.ln_e_total();
        let global = scopes.process(Metric::FirstCheckInMissed, Scope::Global).unwrap().ln_e();
        (0..waves).for_each(|_| scopes.open_wave());
        prop_assert!((scopes.ln_e_total() - before).abs() <= TOLERANCE);
        let after = scopes.process(Metric::FirstCheckInMissed, Scope::Global).unwrap().ln_e();
        prop_assert!((after - global).abs() <= TOLERANCE);
    }

    #[test]
    fn the_combination_agrees_with_the_formula(steps in steps()) {
        let mut scopes = Scopes::new(Weights::standard(), 1.5, model_and_site()).unwrap();
        steps.iter().for_each(|step| take(&mut scopes, step));
        prop_assert!((scopes.ln_e_total() - libm::log(e_total_by_formula(&steps))).abs() <= TOLERANCE);
        let largest = scopes.largest_scope();
        prop_assert!(largest.share > 0.0 && largest.share <= 1.0 + TOLERANCE);
    }

    #[test]
    fn a_restored_state_continues_bit_for_bit(steps in steps(), cut in 0..30_usize) {
        let mut through = Scopes::new(Weights::standard(), 1.5, model_and_site()).unwrap();
        let mut restored = through.clone();
        for (position, step) in steps.iter().enumerate() {
            if position == cut {
                restored = serde_json::from_str(&serde_json::to_string(&restored).unwrap()).unwrap();
            }
            take(&mut through, step);
            take(&mut restored, step);
        }
        prop_assert_eq!(through.ln_e_total().to_bits(), restored.ln_e_total().to_bits());
        prop_assert_eq!(through, restored);
    }

    #[test]
    fn deadlines_come_out_in_one_order_whatever_the_arms_and_the_order_of_insertion(
        (sorted, shuffled) in prop::collection::btree_map(any::<u32>(), (0..5_u64, 0..4_u64), 0..40)
            .prop_map(|units| units.into_iter().map(|(unit, (deadline, hash))| (deadline, hash, unit)).collect::<Vec<_>>())
            .prop_flat_map(|units| (Just(units.clone()), Just(units).prop_shuffle())),
    ) {
        // Inserting treated units first is one of the insertion orders, so it cannot change anything either.
        let drain = |units: &[(u64, u64, u32)]| {
            let mut queue = DeadlineQueue::new();
            for (deadline, hash, unit) in units {
                queue.insert(*deadline, *hash, *unit);
            }
            queue.shift_all(60_000);
            let mut restored: DeadlineQueue = serde_json::from_str(&serde_json::to_string(&queue).unwrap()).unwrap();
            std::iter::from_fn(move || restored.pop_due(u64::MAX)).collect::<Vec<_>>()
        };
        let mut expected = sorted.clone();
        expected.sort_unstable();
        let order: Vec<_> = drain(&shuffled).iter().map(|due| (due.deadline_ms - 60_000, due.hash, due.unit)).collect();
        prop_assert_eq!(&order, &expected);
        prop_assert_eq!(drain(&sorted), drain(&shuffled));
    }

    #[test]
    fn the_betting_process_increases_with_the_candidate_harm(
        outcomes in prop::collection::vec((any::<bool>(), 0..=4_u32, 1..=4_u32), 0..60),
        a in 0.0..1.0_f64,
        b in 0.0..1.0_f64,
    ) {
        let mut pairs = PairCounts::new();
        for (bad, bad_controls, controls) in outcomes {
            pairs.observe(bad, bad_controls.min(controls), controls).unwrap();
        }
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        prop_assert!(pairs.ln_w(low) <= pairs.ln_w(high) + TOLERANCE);
        let bound = pairs.upper_bound(0.01).unwrap();
        prop_assert!((0.0..=1.0).contains(&bound));
        // The bound is where W crosses the limit: reached at it, not reached just below.
        if bound < 1.0 {
            prop_assert!(pairs.ln_w(bound) >= libm::log(100.0) - TOLERANCE);
        }
        if bound > 1e-6 {
            prop_assert!(pairs.ln_w(bound - 1e-7) < libm::log(100.0) + TOLERANCE);
        }
        prop_assert!(pairs.upper_bound(0.05).unwrap() <= bound);
    }
}

#[test]
fn a_million_events_stay_finite() {
    for arm in [T, C] {
        let mut process = Process::new(1.5).unwrap();
        for event in 0..1_000_000_u64 {
            process.observe(1_000_000, 1_000_000, arm).unwrap();
            if event % 100_000 == 0 {
                process.open_wave();
            }
        }
        assert!(process.ln_e().is_finite() && process.ln_e_wave1().is_finite(), "{arm}");
        // A million bad events are overwhelming; a million good ones leave no less than what is kept for later waves.
        match arm {
            Arm::Treated => assert!(process.ln_e() > 300_000.0, "{}", process.ln_e()),
            Arm::Control => {
                assert!(process.ln_e_wave1() < -10_000.0);
                assert!(process.ln_e() >= -(libm::log(12.0)) - TOLERANCE);
            }
        }
        let stored = serde_json::to_string(&process).unwrap();
        assert_eq!(serde_json::from_str::<Process>(&stored).unwrap(), process);
    }
}

#[test]
fn evidence_returns_after_a_long_healthy_past() {
    let mut process = Process::new(1.0).unwrap();
    for _ in 0..200_000 {
        process.observe(1_000, 1_000, C).unwrap();
    }
    process.open_wave();
    // Wave 1 alone is lost by now; the wave that just opened is not.
    for treated in (1..=20).rev() {
        process.observe(treated, 10_000, T).unwrap();
    }
    assert!(process.ln_e() > 50.0, "{}", process.ln_e());
    assert!(process.ln_e_wave1() < -1_000.0, "{}", process.ln_e_wave1());
}

#[test]
fn the_largest_counts_are_still_numbers() {
    let mut process = Process::new(100.0).unwrap();
    for arm in [T, C, T] {
        process.observe(u64::MAX, u64::MAX, arm).unwrap();
        process.observe(1, u64::MAX, arm).unwrap();
        process.observe(u64::MAX, 1, arm).unwrap();
    }
    assert!(process.ln_e().is_finite());
}

#[test]
fn a_fault_in_one_model_and_customer_is_named() {
    let dimensions = vec![
        Dimension { name: "model".to_owned(), fleet_counts: vec![100; 50] },
        Dimension { name: "customer".to_owned(), fleet_counts: vec![2_500; 2] },
    ];
    let mut scopes = Scopes::new(Weights::standard(), 1.5, dimensions).unwrap();
    // Model 7 of customer 1 fails under treatment; all other models of both customers lose only controls.
    let mut silent = 100;
    for round in 0..8_u32 {
        scopes.observe(Metric::FirstCheckInMissed, T, &[7, 1], RiskSet { treated: silent, control: 1_000 }).unwrap();
        silent -= 1;
        for model in (0..50).filter(|model| *model != 7) {
            let risk = RiskSet { treated: 100, control: u64::from(100 - round) };
            scopes.observe(Metric::FirstCheckInMissed, C, &[model, u32::from(model < 25)], risk).unwrap();
        }
    }
    let largest = scopes.largest_scope();
    assert_eq!(largest.metric, Metric::FirstCheckInMissed);
    assert_eq!(largest.scope, Scope::Cohort { dimension: 0, value: ScopeValue::Known(7) });
    let customer = scopes.customer_share(1).unwrap();
    assert_eq!(customer.value, ScopeValue::Known(1));
    assert!(staffel_core::evidence::thresholds::dominates(&customer), "{customer:?}");
    assert_eq!(customer.fleet_share, 0.5);
}

#[test]
fn a_fault_everywhere_is_nobodys_alone() {
    let dimensions = vec![Dimension { name: "customer".to_owned(), fleet_counts: vec![250; 4] }];
    let mut scopes = Scopes::new(Weights::standard(), 1.5, dimensions).unwrap();
    for event in 0..40_u32 {
        let risk = RiskSet { treated: 100 - u64::from(event), control: 1_000 };
        scopes.observe(Metric::FirstCheckInMissed, T, &[event % 4], risk).unwrap();
    }
    assert_eq!(scopes.largest_scope().scope, Scope::Global);
    let customer = scopes.customer_share(0).unwrap();
    assert!(!staffel_core::evidence::thresholds::dominates(&customer), "{customer:?}");
    assert!(customer.evidence_share >= 0.25);
}

#[test]
fn exact_counts_of_large_waves_cost_nothing() {
    let mut pairs = PairCounts::new();
    pairs.add(PairDifference::new(0, 1).unwrap(), 4_000_000);
    pairs.add(PairDifference::new(-1, 4).unwrap(), 40_000);
    pairs.add(PairDifference::new(1, 1).unwrap(), 10_000);
    let bound = pairs.upper_bound(0.01).unwrap();
    // As many bad treated as the controls predict: the bound is near zero but, being a bound, above it.
    assert!(bound > 0.0 && bound < 0.001, "{bound}");
}
