//! Where a block's vectors lie: in the tables themselves, or in copies that are added to them afterwards.

use rayon::prelude::*;
use rec_core::simd::vectorised;

use crate::online::Factor;

/// Vectors that are learned, found by item.
pub(super) trait Rows {
    /// Where the vector of `item` lies among [`values`](Self::values).
    fn place(&mut self, item: u32) -> u32;

    /// The vectors, one after the other.
    fn values(&mut self) -> &mut [f32];
}

impl Rows for Factor {
    #[inline(always)]
    fn place(&mut self, item: u32) -> u32 {
        item
    }

    #[inline(always)]
    fn values(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

/// Copies of the vectors that a block has met.
pub(super) struct Copies {
    /// Where the copy of an item lies, `ABSENT` where there is none.
    places: Vec<u32>,
    /// The items that have one.
    items: Vec<u32>,
    values: Vec<f32>,
}

const ABSENT: u32 = u32::MAX;

impl Copies {
    pub fn new(num_items: usize) -> Self {
        Self { places: vec![ABSENT; num_items], items: Vec::new(), values: Vec::new() }
    }

    /// No copy of any item yet, to be made from `table`.
    pub fn fresh<'a>(&'a mut self, table: &'a Factor) -> CopiesOf<'a> {
        self.items.drain(..).for_each(|item| self.places[item as usize] = ABSENT);
        self.values.clear();
        CopiesOf { table, copies: self }
    }
}

/// Copies, and the table that they are made from when they are first asked for.
pub(super) struct CopiesOf<'a> {
    table: &'a Factor,
    copies: &'a mut Copies,
}

impl Rows for CopiesOf<'_> {
    #[inline(always)]
    fn place(&mut self, item: u32) -> u32 {
        let Copies { places, items, values } = &mut *self.copies;
        let place = &mut places[item as usize];
        if *place == ABSENT {
            *place = items.len() as u32;
            items.push(item);
            values.extend_from_slice(self.table.row(item));
        }
        *place
    }

    #[inline(always)]
    fn values(&mut self) -> &mut [f32] {
        &mut self.copies.values
    }
}

/// table ← table + Σ over `blocks` of (copy − table), in their order whatever the threads.
pub(super) fn add_changes<'a>(table: &mut Factor, blocks: impl Iterator<Item = &'a Copies> + Clone + Sync) {
    /// Vectors of a unit of parallel work.
    const VECTORS: usize = 64;
    let dim = table.dim;
    table.values.par_chunks_mut(VECTORS * dim).enumerate().for_each_init(
        || vec![0f32; dim],
        |before, (chunk, rows)| {
            vectorised(
                #[inline(always)]
                || {
                    for (at, row) in rows.chunks_exact_mut(dim).enumerate() {
                        let item = chunk * VECTORS + at;
                        before.copy_from_slice(row);
                        for copies in blocks.clone().filter(|copies| copies.places[item] != ABSENT) {
                            let copy = &copies.values[copies.places[item] as usize * dim..][..dim];
                            row.iter_mut().zip(copy).zip(&*before).for_each(|((row, copy), before)| *row += copy - before);
                        }
                    }
                },
            );
        },
    );
}

#[cfg(test)]
mod tests {
    use rec_core::Init;

    use super::*;

    #[test]
    fn changes_of_all_blocks_are_added_to_what_was_there_before_them() {
        let mut table = Factor::new(3, 2, Init::Constant(1.0), 0, 0);
        let mut blocks = [Copies::new(3), Copies::new(3)];
        for (block, (item, by)) in blocks.iter_mut().zip([(1, 0.5), (1, 0.25)]) {
            let mut rows = block.fresh(&table);
            let (own, first) = (rows.place(item) as usize * table.dim, rows.place(0) as usize * table.dim);
            assert_eq!(rows.place(item) as usize * table.dim, own, "one copy an item");
            rows.values()[own] += by;
            rows.values()[first + 1] -= by;
        }
        add_changes(&mut table, blocks.iter());
        assert_eq!([&table.row(0)[..2], &table.row(1)[..2], &table.row(2)[..2]], [[1.0, 0.25], [1.75, 1.0], [1.0, 1.0]]);
        let mut again = blocks[0].fresh(&table);
        let place = again.place(1) as usize * table.dim;
        assert_eq!(again.values()[place], 1.75, "a copy after the change is of what is there now");
    }
}
