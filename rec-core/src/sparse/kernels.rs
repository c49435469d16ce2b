//! Loops over the entries of a sparse matrix, on slices. Rows are independent and each is summed in the order of its entries, by
//! fused multiply-adds: the same bits on any number of threads.

use rayon::prelude::*;
use rec_data::csr::Csr;

use super::Pattern;
use crate::simd::{fused_dot, prefetch, vectorised};

/// Numbers of a row that are summed in registers at once.
const PANEL: usize = 64;
/// Rows of one unit of parallel work.
const BLOCK: usize = 16;
/// Multiplications from which on the work is shared among threads: waking one costs as much as some hundred thousand.
const PARALLEL_FROM: usize = 262_144;
/// Entries ahead of which rows are asked for.
const AHEAD: usize = 6;

/// `out[r] = Σ value · dense[c]` over the entries (r, c).
pub(super) fn sum_rows(pattern: &Pattern, values: Option<&[f32]>, dense: &[f32], d: usize, out: &mut [f32]) {
    let value = |entry: usize| values.map_or(1.0, |v| v[entry]);
    sum(pattern.starts(), pattern.columns(), value, dense, d, out);
}

/// `out[c] = Σ value · dense[r]` over the entries (r, c).
pub(super) fn sum_columns(pattern: &Pattern, values: Option<&[f32]>, dense: &[f32], d: usize, out: &mut [f32]) {
    let by_column = pattern.by_column();
    let value = |entry: usize| values.map_or(1.0, |v| v[by_column.places[entry] as usize]);
    sum(&by_column.starts, &by_column.rows, value, dense, d, out);
}

#[inline(always)]
fn sum(starts: &[usize], ids: &[u32], value: impl Fn(usize) -> f32 + Sync, dense: &[f32], d: usize, out: &mut [f32]) {
    if d == 0 {
        return;
    }
    let block = |(block, out): (usize, &mut [f32])| {
        vectorised(
            #[inline(always)]
            || {
                for (at, out) in out.chunks_exact_mut(d).enumerate() {
                    let row = block * BLOCK + at;
                    sum_one(starts[row]..starts[row + 1], ids, &value, dense, d, out);
                }
            },
        );
    };
    if ids.len() * d < PARALLEL_FROM {
        out.chunks_mut(BLOCK * d).enumerate().for_each(block);
    } else {
        out.par_chunks_mut(BLOCK * d).enumerate().for_each(block);
    }
}

#[inline(always)]
fn sum_one<S: Stored>(entries: std::ops::Range<usize>, ids: &[u32], value: &impl Fn(usize) -> f32, dense: &[S], d: usize, out: &mut [f32]) {
    let whole = d / PANEL * PANEL;
    for start in (0..whole).step_by(PANEL) {
        let mut sums = [0f32; PANEL];
        for entry in entries.clone() {
            if let Some(&ahead) = ids[..entries.end].get(entry + AHEAD) {
                prefetch(&dense[ahead as usize * d + start..][..PANEL]);
            }
            let v = value(entry);
            let from: &[S; PANEL] = dense[ids[entry] as usize * d + start..][..PANEL].try_into().expect("a panel is that long");
            for k in 0..PANEL {
                sums[k] = from[k].wide().mul_add(v, sums[k]);
            }
        }
        out[start..start + PANEL].copy_from_slice(&sums);
    }
    let rest = &mut out[whole..];
    rest.fill(0.0);
    for entry in entries {
        let v = value(entry);
        for (to, from) in rest.iter_mut().zip(&dense[ids[entry] as usize * d + whole..(ids[entry] as usize + 1) * d]) {
            *to = from.wide().mul_add(v, *to);
        }
    }
}

/// Which rows of a product are made.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    All,
    /// These, in this order.
    Some(&'a [u32]),
}

/// Which rows of a product's dense factor count.
#[derive(Clone, Copy)]
pub(super) enum Columns<'a> {
    All,
    /// Those that are true; the others are all zeros.
    Touched(&'a [bool]),
}

/// A number as it lies in memory.
pub(super) trait Stored: Copy + Sync {
    fn wide(self) -> f32;
}

impl Stored for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
}

/// bfloat16: the upper half of an f32.
#[derive(Clone, Copy)]
pub(super) struct Bf16(u16);

impl Stored for Bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// The nearest bfloat16 of each number, ties to even; what is not finite stays so.
pub(super) fn narrowed(values: &[f32]) -> Vec<Bf16> {
    let narrow = |&value: &f32| {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        // Rounding must not carry a NaN over into an infinity or 0.
        Bf16(if value.is_nan() { (bits >> 16) as u16 | 0x40 } else { (rounded >> 16) as u16 })
    };
    let mut out = vec![Bf16(0); values.len()];
    let fill = |(out, values): (&mut [Bf16], &[f32])| {
        vectorised(
            #[inline(always)]
            || out.iter_mut().zip(values).for_each(|(to, from)| *to = narrow(from)),
        );
    };
    if values.len() < PARALLEL_FROM {
        fill((&mut out, values));
    } else {
        out.par_chunks_mut(PARALLEL_FROM / 4).zip(values.par_chunks(PARALLEL_FROM / 4)).for_each(fill);
    }
    out
}

/// `out[i] = scale · Σ value · y[c] + c · x[r]` over the entries (r, c) of the i-th row r asked for.
#[allow(clippy::too_many_arguments)]
pub(super) fn combine<S: Stored>(
    a: &Csr,
    y: &[S],
    scale: f32,
    x: Option<(f32, &[f32])>,
    rows: Rows<'_>,
    columns: Columns<'_>,
    d: usize,
    out: &mut [f32],
) {
    if d == 0 {
        return;
    }
    let block = |(block, out): (usize, &mut [f32])| {
        vectorised(
            #[inline(always)]
            || {
                for (at, out) in out.chunks_exact_mut(d).enumerate() {
                    let at = block * BLOCK + at;
                    let row = match rows {
                        Rows::All => at,
                        Rows::Some(ids) => ids[at] as usize,
                    };
                    match columns {
                        Columns::All => sum_one(a.range(row), a.columns(), &|entry| a.values()[entry], y, d, out),
                        Columns::Touched(touched) => combine_touched(a.row(row), a.row_values(row), y, touched, d, out),
                    }
                    match x {
                        Some((c, x)) => {
                            out.iter_mut().zip(&x[row * d..][..d]).for_each(|(to, x)| *to = x.mul_add(c, *to * scale));
                        }
                        None if scale != 1.0 => out.iter_mut().for_each(|to| *to *= scale),
                        None => {}
                    }
                }
            },
        );
    };
    if a.len() * d < PARALLEL_FROM {
        out.chunks_mut(BLOCK * d).enumerate().for_each(block);
    } else {
        out.par_chunks_mut(BLOCK * d).enumerate().for_each(block);
    }
}

#[inline(always)]
fn combine_touched<S: Stored>(ids: &[u32], values: &[f32], y: &[S], touched: &[bool], d: usize, out: &mut [f32]) {
    out.fill(0.0);
    for (&id, &v) in ids.iter().zip(values) {
        if touched[id as usize] {
            out.iter_mut().zip(&y[id as usize * d..][..d]).for_each(|(to, from)| *to = from.wide().mul_add(v, *to));
        }
    }
}

/// `out[entry] = left[r] · right[c]`.
pub(super) fn products(pattern: &Pattern, left: &[f32], right: &[f32], d: usize, out: &mut [f32]) {
    let (starts, columns) = (pattern.starts(), pattern.columns());
    let blocks: Vec<(usize, &mut [f32])> = split_by_rows(starts, out);
    let block = |(first, mut out): (usize, &mut [f32])| {
        vectorised(
            #[inline(always)]
            || {
                for row in first..(first + BLOCK).min(starts.len() - 1) {
                    let entries = starts[row]..starts[row + 1];
                    let (here, rest) = std::mem::take(&mut out).split_at_mut(entries.len());
                    out = rest;
                    let l = &left[row * d..][..d];
                    for (entry, to) in entries.clone().zip(here) {
                        if let Some(&ahead) = columns[..entries.end].get(entry + 2) {
                            prefetch(&right[ahead as usize * d..][..d]);
                        }
                        *to = fused_dot(l, &right[columns[entry] as usize * d..][..d]);
                    }
                }
            },
        );
    };
    if columns.len() * d < PARALLEL_FROM { blocks.into_iter().for_each(block) } else { blocks.into_par_iter().for_each(block) }
}

/// The parts of `out` (one number an entry) that belong to each block of rows, with the block's first row.
fn split_by_rows<'a>(starts: &[usize], mut out: &'a mut [f32]) -> Vec<(usize, &'a mut [f32])> {
    let rows = starts.len() - 1;
    (0..rows)
        .step_by(BLOCK)
        .map(|first| {
            let (here, rest) = std::mem::take(&mut out).split_at_mut(starts[(first + BLOCK).min(rows)] - starts[first]);
            out = rest;
            (first, here)
        })
        .collect()
}

/// `out[entry] = dense[r, c]`.
pub(super) fn pick(pattern: &Pattern, dense: &[f32], out: &mut [f32]) {
    let width = pattern.num_columns();
    for (row, ends) in pattern.starts().windows(2).enumerate() {
        let from = &dense[row * width..][..width];
        for (to, &column) in out[ends[0]..ends[1]].iter_mut().zip(&pattern.columns()[ends[0]..ends[1]]) {
            *to = from[column as usize];
        }
    }
}

/// `out[r, c] += values[entry]`.
pub(super) fn put(pattern: &Pattern, values: &[f32], out: &mut [f32]) {
    let width = pattern.num_columns();
    for (row, ends) in pattern.starts().windows(2).enumerate() {
        let to = &mut out[row * width..][..width];
        for (value, &column) in values[ends[0]..ends[1]].iter().zip(&pattern.columns()[ends[0]..ends[1]]) {
            to[column as usize] += value;
        }
    }
}
