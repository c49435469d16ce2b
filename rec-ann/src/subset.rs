//! Which vectors may be found.

/// A set of vectors' numbers: a search within it finds no other.
#[derive(Clone, Debug)]
pub struct Subset {
    bits: Vec<u64>,
    len: usize,
}

impl Subset {
    /// Those of `0..num_vectors` that `keep` is true for.
    pub fn of(num_vectors: usize, keep: impl Fn(u32) -> bool) -> Self {
        let mut bits = vec![0u64; num_vectors.div_ceil(64)];
        for id in 0..num_vectors {
            bits[id / 64] |= u64::from(keep(id as u32)) << (id % 64);
        }
        let len = bits.iter().map(|word| word.count_ones() as usize).sum();
        Self { bits, len }
    }

    /// Whether `id` is in the set; numbers from `num_vectors` on are not.
    #[inline(always)]
    pub fn contains(&self, id: u32) -> bool {
        self.bits.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// How many numbers are in the set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The numbers, rising.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.bits.iter().enumerate().flat_map(|(i, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(i as u32 * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_holds_what_was_kept() {
        let subset = Subset::of(150, |id| id % 7 == 3);
        assert_eq!(subset.iter().collect::<Vec<_>>(), (0..150).filter(|id| id % 7 == 3).collect::<Vec<_>>());
        assert_eq!(subset.len(), subset.iter().count());
        assert!(subset.contains(3) && !subset.contains(4) && !subset.contains(1_000_000));
        assert!(Subset::of(0, |_| true).is_empty());
    }
}
