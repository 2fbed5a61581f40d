//! A sum of many terms of which an event changes a handful: a binary tree of partial sums, all kept as logarithms.
//!
//! A running total with terms added and taken away would lose its digits. Here every node is computed from its two
//! children alone, so the total is a function of the terms and not of their history.

use super::logspace;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SumTree {
    // Node 1 is the root, the children of node i are 2i and 2i+1, the terms start at `width`.
    nodes: Vec<f64>,
    width: usize,
    terms: usize,
}

impl SumTree {
    pub(super) fn new(terms: &[f64]) -> Self {
        let width = terms.len().next_power_of_two();
        let mut nodes = vec![f64::NEG_INFINITY; 2 * width];
        nodes[width..width + terms.len()].copy_from_slice(terms);
        for node in (1..width).rev() {
            nodes[node] = logspace::add(nodes[2 * node], nodes[2 * node + 1]);
        }
        SumTree { nodes, width, terms: terms.len() }
    }

    pub(super) fn set(&mut self, term: usize, value: f64) {
        let mut node = self.width + term;
        self.nodes[node] = value;
        while node > 1 {
            node /= 2;
            self.nodes[node] = logspace::add(self.nodes[2 * node], self.nodes[2 * node + 1]);
        }
    }

    pub(super) fn total(&self) -> f64 {
        self.nodes[1]
    }

    pub(super) fn terms(&self) -> &[f64] {
        &self.nodes[self.width..self.width + self.terms]
    }
}

#[cfg(test)]
mod tests {
    use super::SumTree;

    #[test]
    fn changing_terms_one_by_one_ends_where_building_at_once_does() {
        let target: Vec<f64> = (0..13).map(|term| f64::from(term) * 1.7 - 9.0).collect();
        let mut tree = SumTree::new(&[0.5; 13]);
        for term in [12, 0, 5, 3, 1, 2, 4, 11, 10, 9, 8, 7, 6] {
            tree.set(term, 400.0);
            tree.set(term, target[term]);
        }
        assert_eq!(tree, SumTree::new(&target));
        let plain: f64 = target.iter().map(|term| libm::exp(*term)).sum();
        assert!((tree.total() - libm::log(plain)).abs() < 1e-12);
        assert_eq!(SumTree::new(&[2.5]).total(), 2.5);
    }
}
