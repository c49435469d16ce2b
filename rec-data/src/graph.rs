//! The graph of users and items: node u is user u, node `num_users` + i is item i, and each training pair is an edge.

use serde::{Deserialize, Serialize};

use crate::csr::Csr;
use crate::rng::{Rng, Stream};
use crate::view::TrainView;

/// By what an edge's 1 is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// By the root of the product of both ends' degrees: D^−½ A D^−½.
    #[default]
    Symmetric,
    /// By the degree of the node that receives: D⁻¹ A, a mean over neighbours.
    Left,
}

/// The edges of a graph, each pair once.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    num_users: usize,
    num_items: usize,
    /// `[E]` by rising user, then by rising item.
    pairs: Vec<(u32, u32)>,
}

impl Graph {
    /// One edge for each (user, item) that has a training row.
    pub fn of(data: &TrainView) -> Self {
        let by_user = data.by_user();
        let pairs = (0..data.num_users()).flat_map(|user| by_user.row(user).iter().map(move |&item| (user as u32, item))).collect();
        Self { num_users: data.num_users(), num_items: data.num_items(), pairs }
    }

    /// Users and items together.
    pub fn num_nodes(&self) -> usize {
        self.num_users + self.num_items
    }

    /// The number of edges.
    pub fn num_edges(&self) -> usize {
        self.pairs.len()
    }

    /// Each edge stays with the probability `keep`, both directions together. The draw depends on the seed and the step only.
    pub fn with_edges_dropped(&self, keep: f64, seed: u64, step: u64) -> Self {
        let mut rng = Rng::keyed(seed, Stream::Edges, step, 0);
        self.filtered(|_| rng.unit() < keep)
    }

    /// Each node stays with the probability `keep`; an edge stays with both its ends. The draw depends on the seed and the step only.
    pub fn with_nodes_dropped(&self, keep: f64, seed: u64, step: u64) -> Self {
        let mut rng = Rng::keyed(seed, Stream::Edges, step, 1);
        let stays: Vec<bool> = (0..self.num_nodes()).map(|_| rng.unit() < keep).collect();
        self.filtered(|(user, item)| stays[user as usize] && stays[self.num_users + item as usize])
    }

    fn filtered(&self, mut stays: impl FnMut((u32, u32)) -> bool) -> Self {
        Self { pairs: self.pairs.iter().copied().filter(|&pair| stays(pair)).collect(), ..*self }
    }

    /// The normalised adjacency, with an edge from each node to itself where `self_loops`. A node without neighbours has an empty row.
    ///
    /// # Shapes
    /// `[num_nodes, num_nodes]`, columns rising within a row
    pub fn adjacency(&self, normalisation: Normalisation, self_loops: bool) -> Csr {
        let nodes = self.num_nodes();
        let mut degrees = vec![u32::from(self_loops); nodes];
        let item_node = |item: u32| self.num_users as u32 + item;
        for &(user, item) in &self.pairs {
            degrees[user as usize] += 1;
            degrees[item_node(item) as usize] += 1;
        }
        let entries = 2 * self.pairs.len() + if self_loops { nodes } else { 0 };
        let (mut rows, mut columns) = (Vec::with_capacity(entries), Vec::with_capacity(entries));
        // Pairs rise by user and item; a user's own edge comes before its items, an item's own after its users: so columns rise.
        let mut push = |row: u32, column: u32| {
            rows.push(row);
            columns.push(column);
        };
        if self_loops {
            (0..self.num_users as u32).for_each(|user| push(user, user));
        }
        for &(user, item) in &self.pairs {
            push(user, item_node(item));
            push(item_node(item), user);
        }
        if self_loops {
            (self.num_users as u32..nodes as u32).for_each(|item| push(item, item));
        }
        let degree = |node: u32| f64::from(degrees[node as usize]);
        let value = |(&row, &column): (&u32, &u32)| match normalisation {
            Normalisation::Symmetric => (1.0 / (degree(row) * degree(column)).sqrt()) as f32,
            Normalisation::Left => (1.0 / degree(row)) as f32,
        };
        let values: Vec<f32> = rows.iter().zip(&columns).map(value).collect();
        Csr::from_coordinates(nodes, nodes, &rows, &columns, &values)
    }
}

/// `matrix` with each entry staying with the probability `keep` and divided by it, each direction of an edge by itself, so that products
/// stay the same in the mean. The draw depends on the seed and the step only.
pub fn with_entries_dropped(matrix: &Csr, keep: f64, seed: u64, step: u64) -> Csr {
    let mut rng = Rng::keyed(seed, Stream::Edges, step, 2);
    let (mut rows, mut columns, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..matrix.num_rows() {
        for (&column, &value) in matrix.row(row).iter().zip(matrix.row_values(row)) {
            if rng.unit() < keep {
                rows.push(row as u32);
                columns.push(column);
                values.push(value / keep as f32);
            }
        }
    }
    Csr::from_coordinates(matrix.num_rows(), matrix.num_columns(), &rows, &columns, &values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Interactions, Vocabulary};

    fn graph() -> Graph {
        // User 2 and item 3 have nobody; one pair comes twice.
        let (users, items) = (vec![0, 1, 0, 1, 0], vec![1, 0, 0, 2, 1]);
        Graph::of(&TrainView::of_all(&Interactions {
            users: users.into(),
            items: items.into(),
            user_ids: Vocabulary::numbers(3),
            item_ids: Vocabulary::numbers(4),
            ..Interactions::default()
        }))
    }

    #[test]
    fn values_are_those_of_the_formulas() {
        let graph = graph();
        assert_eq!((graph.num_nodes(), graph.num_edges()), (7, 4));
        let plain = graph.adjacency(Normalisation::Symmetric, false);
        let half = 0.5f32.sqrt();
        // User 0 has items 0 and 1 (nodes 3 and 4), of degrees 2 and 1.
        assert_eq!((plain.row(0), plain.row_values(0)), (&[3, 4][..], &[0.5, half][..]));
        assert_eq!((plain.row(3), plain.row_values(3)), (&[0, 1][..], &[0.5, 0.5][..]));
        assert!(plain.row(2).is_empty() && plain.row(6).is_empty());
        assert_eq!(plain.transposed(), plain);

        let left = graph.adjacency(Normalisation::Left, true);
        let third = (1.0 / 3.0) as f32;
        assert_eq!((left.row(1), left.row_values(1)), (&[1, 3, 5][..], &[third; 3][..]));
        assert_eq!((left.row(5), left.row_values(5)), (&[1, 5][..], &[0.5; 2][..]));
        assert_eq!((left.row(6), left.row_values(6)), (&[6][..], &[1.0][..]));
        for row in 0..7 {
            assert!(left.row(row).is_sorted());
        }
    }

    #[test]
    fn dropping_keeps_both_directions_or_none_and_depends_on_seed_and_step_only() {
        let pairs: Vec<(u32, u32)> = (0..100).flat_map(|u| (0..20).map(move |i| (u, i))).collect();
        let graph = Graph { num_users: 100, num_items: 20, pairs };
        let dropped = graph.with_edges_dropped(0.7, 1, 5);
        assert!((1300..1500).contains(&dropped.num_edges()), "{}", dropped.num_edges());
        assert_eq!(dropped, graph.with_edges_dropped(0.7, 1, 5));
        assert_ne!(dropped, graph.with_edges_dropped(0.7, 1, 6));
        let adjacency = dropped.adjacency(Normalisation::Symmetric, false);
        assert_eq!(adjacency.transposed(), adjacency);

        let whole = graph.adjacency(Normalisation::Left, true);
        let thinned = with_entries_dropped(&whole, 0.8, 1, 5);
        assert_eq!(thinned, with_entries_dropped(&whole, 0.8, 1, 5));
        assert!((0.76..0.84).contains(&(thinned.len() as f64 / whole.len() as f64)), "{} of {}", thinned.len(), whole.len());
        let sum = |m: &Csr| m.values().iter().map(|&v| f64::from(v)).sum::<f64>();
        assert!((sum(&thinned) / sum(&whole) - 1.0).abs() < 0.05);
        assert_ne!(thinned.transposed().columns(), thinned.columns());

        let dropped = graph.with_nodes_dropped(0.5, 1, 5).adjacency(Normalisation::Symmetric, false);
        let (users, items): (Vec<usize>, Vec<usize>) = (0..120).filter(|&n| !dropped.row(n).is_empty()).partition(|&n| n < 100);
        assert!(users.len() < 70 && users.len() > 30);
        assert!(users.iter().all(|&u| dropped.row(u).len() == items.len()));
    }
}
