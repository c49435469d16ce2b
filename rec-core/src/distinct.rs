//! The distinct numbers of a list: what is the same for equal numbers is computed once.

/// Distinct numbers in order of first appearance, and where each number of the list stands among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct {
    /// The numbers, each once.
    pub ids: Vec<u32>,
    /// For each number of the list, its place in [`ids`](Self::ids).
    pub places: Vec<u32>,
}

impl Distinct {
    /// Of `list`, whose numbers are below `bound`. Takes time and memory for `bound` flags.
    ///
    /// # Panics
    /// where a number is not below `bound`.
    pub fn of<'a>(list: impl IntoIterator<Item = &'a u32>, bound: usize) -> Self {
        let mut slots = vec![u32::MAX; bound];
        let (mut ids, mut places) = (Vec::new(), Vec::new());
        for &id in list {
            let slot = &mut slots[id as usize];
            if *slot == u32::MAX {
                *slot = ids.len() as u32;
                ids.push(id);
            }
            places.push(*slot);
        }
        Self { ids, places }
    }

    /// How often each of [`ids`](Self::ids) stands in the list.
    pub fn counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.ids.len()];
        self.places.iter().for_each(|&place| counts[place as usize] += 1);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_comes_once_and_its_places_lead_back() {
        let list = [7u32, 2, 7, 0, 2, 2];
        let found = Distinct::of(&list, 8);
        assert_eq!((&found.ids[..], &found.places[..], found.counts()), (&[7, 2, 0][..], &[0, 1, 0, 2, 1, 1][..], vec![2, 3, 1]));
        assert!(Distinct::of(&[], 0).ids.is_empty());
    }
}
