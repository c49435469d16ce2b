//! Codes as a search reads them: sums of table entries over many vectors.
//!
//! Codes of eight bits lie vector after vector. Codes of four bits lie in blocks of 32 vectors, part after part, so that one instruction looks up
//! 32 entries of a table that lies in a register (André, Kermarrec and Le Scouarnec, "Cache locality is not enough", VLDB 2015). The table is
//! rounded down to bytes there: the sums are lower bounds, and what a bound lets through is summed again without rounding. So the answers
//! are those of the exact tables, on every processor.

use std::ops::Range;

use anyhow::{Result, ensure};

use super::quantiser::Bits;
use crate::column::Column;
use crate::file::{Reader, inconsistent};
use crate::kernels::vectorised;

/// Vectors of a block.
const BLOCK: usize = 32;
/// Room for the rounding of the sums that a lower bound is compared with.
const ROUNDING: f32 = 1e-5;

/// Codes of vectors in groups, which are read one at a time.
pub(super) struct Codes {
    bits: Bits,
    parts: usize,
    packed: Column<u8>,
    /// Where each group starts, in bytes.
    groups: Vec<usize>,
}

/// A query's distances from the centroids of each part.
pub(super) struct Table {
    /// `[parts, centroids]`.
    exact: Vec<f32>,
    /// With 16 centroids: `[parts, 16]`, an even number of parts; an entry is at least `low`'s share and `step` times this.
    rounded: Vec<u8>,
    low: f32,
    step: f32,
}

impl Table {
    pub(super) fn new(exact: Vec<f32>, bits: Bits) -> Self {
        let mut out = Self { exact, rounded: Vec::new(), low: 0.0, step: 0.0 };
        if bits == Bits::Four {
            let parts = out.exact.chunks_exact(16);
            let ranges = parts.clone().map(|part| part.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v))));
            let lows: Vec<f32> = ranges.clone().map(|(low, _)| low).collect();
            // No sum of bytes over all parts may pass 16 bits.
            let most = (u16::MAX as usize / lows.len().max(1)).min(255) as f32;
            out.step = ranges.map(|(low, high)| high - low).fold(0.0, f32::max) / most;
            out.low = lows.iter().sum();
            let per = if out.step > 0.0 { 1.0 / out.step } else { 0.0 };
            out.rounded = parts.zip(&lows).flat_map(|(part, low)| part.iter().map(move |v| ((v - low) * per).min(most) as u8)).collect();
            out.rounded.resize(lows.len().next_multiple_of(2) * 16, 0);
        }
        out
    }
}

impl Codes {
    /// Packs codes (`[n, parts]`) of groups with these sizes.
    pub(super) fn new(codes: &[u8], parts: usize, bits: Bits, sizes: &[usize]) -> Self {
        let mut out = Self { bits, parts, packed: Column::new(), groups: starts(parts, bits, sizes) };
        match bits {
            Bits::Eight => out.packed.extend(codes),
            Bits::Four => {
                out.packed.resize(out.groups[sizes.len()], 0);
                let (packed, bytes) = (out.packed.make_mut(), block_bytes(parts));
                let mut first = 0;
                for (group, size) in sizes.iter().enumerate() {
                    for (i, code) in codes[first * parts..(first + size) * parts].chunks_exact(parts).enumerate() {
                        let block = &mut packed[out.groups[group] + i / BLOCK * bytes..][..bytes];
                        for (part, c) in code.iter().enumerate() {
                            block[part * 16 + i % 16] |= c << (i % BLOCK / 16 * 4);
                        }
                    }
                    first += size;
                }
            }
        }
        out
    }

    /// The packed bytes.
    pub(super) fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// Takes the codes of groups with these sizes from a file.
    pub(super) fn read(parts: usize, bits: Bits, sizes: &[usize], sections: &mut Reader) -> Result<Self> {
        let out = Self { bits, parts, packed: sections.take()?, groups: starts(parts, bits, sizes) };
        ensure!(out.packed.len() == out.groups[sizes.len()], inconsistent("codes of another number of vectors"));
        Ok(out)
    }

    /// Names the vectors (counted in the group) whose sum and own term are at most the bound, with that distance. `terms` holds a number for each
    /// vector of the group, or nothing; `found` says the new bound.
    pub(super) fn scan(
        &self,
        group: usize,
        size: usize,
        table: &Table,
        terms: &[f32],
        mut bound: f32,
        mut found: impl FnMut(usize, f32) -> f32,
    ) {
        let packed = &self.packed[self.groups[group]..];
        let term = |i: usize| terms.get(i).copied().unwrap_or(0.0);
        match self.bits {
            Bits::Eight => {
                let mut at = 0;
                while at + 4 <= size {
                    let sums = sums_of_four(&packed[at * self.parts..(at + 4) * self.parts], &table.exact);
                    for (i, sum) in sums.into_iter().enumerate() {
                        let distance = sum + term(at + i);
                        if distance <= bound {
                            bound = found(at + i, distance);
                        }
                    }
                    at += 4;
                }
                for i in at..size {
                    let code = &packed[i * self.parts..(i + 1) * self.parts];
                    let distance =
                        code.iter().zip(table.exact.chunks_exact(256)).fold(0.0, |sum, (&c, part)| sum + part[usize::from(c)]) + term(i);
                    if distance <= bound {
                        bound = found(i, distance);
                    }
                }
            }
            Bits::Four => {
                let bytes = block_bytes(self.parts);
                for (block, codes) in packed.chunks_exact(bytes).take(size.div_ceil(BLOCK)).enumerate() {
                    let members = block * BLOCK..((block + 1) * BLOCK).min(size);
                    for lane in reached(codes, table, terms.get(members.clone()), bound, members.len()) {
                        let distance = self.sum_of_lane(codes, lane, table) + term(members.start + lane);
                        if distance <= bound {
                            bound = found(members.start + lane, distance);
                        }
                    }
                }
            }
        }
    }

    /// The exact sum of one vector of a block.
    fn sum_of_lane(&self, block: &[u8], lane: usize, table: &Table) -> f32 {
        let codes = block.chunks_exact(16).take(self.parts).map(|part| part[lane % 16] >> (lane / 16 * 4) & 15);
        codes.zip(table.exact.chunks_exact(16)).fold(0.0, |sum, (c, part)| sum + part[usize::from(c)])
    }
}

/// The lanes of a block whose lower bound is at most `bound`.
fn reached(codes: &[u8], table: &Table, terms: Option<&[f32]>, bound: f32, count: usize) -> impl Iterator<Item = usize> + use<> {
    let sums = block_sums(codes, &table.rounded);
    let mut lane_terms = [0f32; BLOCK];
    if let Some(terms) = terms {
        lane_terms[..count].copy_from_slice(terms);
    }
    let limit = bound - table.low + ROUNDING * (bound.abs() + table.low.abs() + table.step * f32::from(u16::MAX));
    let mut reached = [false; BLOCK];
    vectorised(
        #[inline(always)]
        || {
            for lane in 0..BLOCK {
                reached[lane] = f32::from(sums[lane]) * table.step + lane_terms[lane] <= limit;
            }
        },
    );
    let mask = reached.iter().rev().fold(0u32, |mask, &reached| mask << 1 | u32::from(reached)) & (u32::MAX >> (BLOCK - count));
    (0..count).filter(move |lane| mask >> lane & 1 == 1)
}

/// Where groups of these sizes start, in bytes, and after the last one the length.
fn starts(parts: usize, bits: Bits, sizes: &[usize]) -> Vec<usize> {
    let bytes = |size: &usize| match bits {
        Bits::Eight => size * parts,
        Bits::Four => size.div_ceil(BLOCK) * block_bytes(parts),
    };
    let mut end = 0;
    std::iter::once(0).chain(sizes.iter().map(|size| (end += bytes(size), end).1)).collect()
}

/// Bytes of a block: sixteen for each part, an even number of parts.
fn block_bytes(parts: usize) -> usize {
    parts.next_multiple_of(2) * 16
}

/// Sums of four vectors with codes of eight bits, part after part.
fn sums_of_four(codes: &[u8], table: &[f32]) -> [f32; 4] {
    let parts = codes.len() / 4;
    let (a, rest) = codes.split_at(parts);
    let (b, rest) = rest.split_at(parts);
    let (c, d) = rest.split_at(parts);
    let mut sums = [0f32; 4];
    for ((((part, &a), &b), &c), &d) in table.as_chunks::<256>().0.iter().zip(a).zip(b).zip(c).zip(d) {
        sums[0] += part[usize::from(a)];
        sums[1] += part[usize::from(b)];
        sums[2] += part[usize::from(c)];
        sums[3] += part[usize::from(d)];
    }
    sums
}

/// Sums of a block's vectors from a table of bytes.
fn block_sums(codes: &[u8], table: &[u8]) -> [u16; BLOCK] {
    assert!(codes.len() == table.len() && codes.len().is_multiple_of(32));
    #[cfg(target_arch = "x86_64")]
    if crate::kernels::has_avx2() {
        // SAFETY: the processor has AVX2, and the slices are of one length, a multiple of 32 (asserted above).
        return unsafe { block_sums_avx2(codes, table) };
    }
    #[cfg(target_arch = "aarch64")]
    {
        return block_sums_neon(codes, table);
    }
    #[cfg(not(target_arch = "aarch64"))]
    block_sums_portable(codes, table)
}

#[cfg(any(test, not(target_arch = "aarch64")))]
fn block_sums_portable(codes: &[u8], table: &[u8]) -> [u16; BLOCK] {
    let mut sums = [0u16; BLOCK];
    for (codes, table) in codes.as_chunks::<16>().0.iter().zip(table.as_chunks::<16>().0) {
        for (lane, code) in codes.iter().enumerate() {
            sums[lane] += u16::from(table[usize::from(code & 15)]);
            sums[lane + 16] += u16::from(table[usize::from(code >> 4)]);
        }
    }
    sums
}

/// Two parts at a time: the lower half of a register looks up one, the upper half the other.
///
/// # Safety
/// The processor has AVX2, and `codes` and `table` have one length, a multiple of 32.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn block_sums_avx2(codes: &[u8], table: &[u8]) -> [u16; BLOCK] {
    use std::arch::x86_64::*;
    let (nibble, even) = (_mm256_set1_epi8(15), _mm256_set1_epi16(255));
    // Of the vectors 0..16 and 16..32: those with even and with odd numbers.
    let mut sums = [_mm256_setzero_si256(); 4];
    for at in (0..codes.len()).step_by(32) {
        // SAFETY: at + 32 ≤ the length of both.
        let (codes, table) =
            unsafe { (_mm256_loadu_si256(codes.as_ptr().add(at).cast()), _mm256_loadu_si256(table.as_ptr().add(at).cast())) };
        let first = _mm256_shuffle_epi8(table, _mm256_and_si256(codes, nibble));
        let second = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble));
        sums[0] = _mm256_add_epi16(sums[0], _mm256_and_si256(first, even));
        sums[1] = _mm256_add_epi16(sums[1], _mm256_srli_epi16::<8>(first));
        sums[2] = _mm256_add_epi16(sums[2], _mm256_and_si256(second, even));
        sums[3] = _mm256_add_epi16(sums[3], _mm256_srli_epi16::<8>(second));
    }
    let sums: [[u16; 16]; 4] = sums.map(bytemuck::cast);
    std::array::from_fn(|i| {
        let (sum, lane) = (&sums[i / 16 * 2 + i % 2], i % 16 / 2);
        sum[lane] + sum[lane + 8]
    })
}

#[cfg(target_arch = "aarch64")]
fn block_sums_neon(codes: &[u8], table: &[u8]) -> [u16; BLOCK] {
    use std::arch::aarch64::*;
    let mut out = [0u16; BLOCK];
    // SAFETY: NEON is part of AArch64; the loads lie in chunks of sixteen, the stores in `out`.
    unsafe {
        let mut sums = [vdupq_n_u16(0); 4];
        for (codes, table) in codes.as_chunks::<16>().0.iter().zip(table.as_chunks::<16>().0) {
            let (codes, table) = (vld1q_u8(codes.as_ptr()), vld1q_u8(table.as_ptr()));
            let first = vqtbl1q_u8(table, vandq_u8(codes, vdupq_n_u8(15)));
            let second = vqtbl1q_u8(table, vshrq_n_u8::<4>(codes));
            sums[0] = vaddw_u8(sums[0], vget_low_u8(first));
            sums[1] = vaddw_high_u8(sums[1], first);
            sums[2] = vaddw_u8(sums[2], vget_low_u8(second));
            sums[3] = vaddw_high_u8(sums[3], second);
        }
        for (i, sum) in sums.into_iter().enumerate() {
            vst1q_u16(out.as_mut_ptr().add(8 * i), sum);
        }
    }
    out
}

/// The places of groups of these sizes.
pub(super) fn sizes(groups: impl Iterator<Item = Range<u32>>) -> Vec<usize> {
    groups.map(|places| places.len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Stream};

    #[test]
    fn block_sums_are_those_of_the_portable_loop() {
        let mut rng = Rng::keyed(1, Stream::Sample, 0);
        for parts in [2, 4, 64, 256] {
            let (codes, table): (Vec<u8>, Vec<u8>) = (0..parts * 16).map(|_| (rng.bits() as u8, rng.bits() as u8)).unzip();
            assert_eq!(block_sums(&codes, &table), block_sums_portable(&codes, &table));
        }
        assert_eq!(block_sums(&[0xff; 256 * 16], &[255; 256 * 16]), [255 * 256; 32]);
    }

    #[test]
    fn a_scan_names_exactly_what_is_within_the_bound() {
        let mut rng = Rng::keyed(2, Stream::Sample, 0);
        for (bits, centroids) in [(Bits::Four, 16), (Bits::Eight, 256)] {
            for parts in [1, 2, 5, 300] {
                let sizes = [0, 1, 31, 32, 33, 70];
                let n: usize = sizes.iter().sum();
                let codes: Vec<u8> = (0..n * parts).map(|_| rng.below(centroids) as u8).collect();
                let exact: Vec<f32> = (0..parts * centroids).map(|_| rng.normal() as f32).collect();
                let terms: Vec<f32> = (0..n).map(|_| rng.normal() as f32).collect();
                let (packed, table) = (Codes::new(&codes, parts, bits, &sizes), Table::new(exact.clone(), bits));
                let distance = |i: usize, own: f32| {
                    codes[i * parts..][..parts].iter().enumerate().fold(0.0, |s, (p, &c)| s + exact[p * centroids + usize::from(c)]) + own
                };
                let mut first = 0;
                for (group, &size) in sizes.iter().enumerate() {
                    for with_terms in [false, true] {
                        let own = |i: usize| if with_terms { terms[first + i] } else { 0.0 };
                        for bound in [f32::INFINITY, 1.0, -3.0] {
                            let mut found = Vec::new();
                            let terms = if with_terms { &terms[first..first + size] } else { &[] };
                            packed.scan(group, size, &table, terms, bound, |i, distance| {
                                found.push((i, distance));
                                bound
                            });
                            let expected = (0..size).map(|i| (i, distance(first + i, own(i)))).filter(|(_, d)| *d <= bound);
                            assert_eq!(found, expected.collect::<Vec<_>>());
                        }
                    }
                    first += size;
                }
            }
        }
    }
}
