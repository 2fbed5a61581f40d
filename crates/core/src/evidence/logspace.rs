//! Sums of numbers that are kept as logarithms, because the numbers themselves overflow after a few hundred events.

/// `ln(exp(a) + exp(b))` without overflow. Minus infinity stands for zero.
pub(super) fn add(a: f64, b: f64) -> f64 {
    let (large, small) = if a >= b { (a, b) } else { (b, a) };
    if small == f64::NEG_INFINITY {
        return large;
    }
    large + libm::log(1.0 + libm::exp(small - large))
}

/// `ln(sum of exp(term))` without overflow. An empty sum is minus infinity.
pub(super) fn sum(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    let scaled: f64 = terms.iter().map(|term| libm::exp(term - largest)).sum();
    largest + libm::log(scaled)
}

#[cfg(test)]
mod tests {
    use super::{add, sum};

    #[test]
    fn zero_and_huge_terms_are_safe() {
        let zero = f64::NEG_INFINITY;
        assert_eq!(add(zero, zero), zero);
        assert_eq!(add(zero, 3.0), 3.0);
        assert_eq!(sum(&[]), zero);
        assert_eq!(sum(&[zero, zero]), zero);
        assert!((add(1e7, 1e7) - (1e7 + std::f64::consts::LN_2)).abs() < 1e-8);
        assert!((sum(&[-1e7, -1e7]) - (-1e7 + std::f64::consts::LN_2)).abs() < 1e-8);
    }

    #[test]
    fn agrees_with_plain_addition() {
        let (a, b, c) = (0.3_f64, 2.5_f64, 7.0_f64);
        assert!((libm::exp(add(libm::log(a), libm::log(b))) - (a + b)).abs() < 1e-12);
        assert!((libm::exp(sum(&[libm::log(a), libm::log(b), libm::log(c)])) - (a + b + c)).abs() < 1e-12);
    }
}
