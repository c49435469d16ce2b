//! Products and distances of two vectors: compiled a second time for AVX2 and FMA, and that copy taken where the processor has them.
//! On AArch64 the one copy is NEON. Sums run in sixteen lanes by fused multiply-adds and are folded in a fixed order, so a distance has the
//! same bits in every copy; a processor without fused multiply-adds computes them in software, rightly and slowly.

/// Lanes of a sum: two vectors of eight.
const LANES: usize = 16;

/// Runs `work` in a copy that is compiled for AVX2 and FMA where the processor has them.
///
/// Write `vectorised(#[inline(always)] || …)`: what is not inlined into the copy is not compiled for it.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if has_avx2() {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { with_avx2(work) };
        }
    }
    work()
}

/// Whether the processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

/// Σ aᵢbᵢ.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    vectorised(
        #[inline(always)]
        || sums(a, [b], |a, b, sum| a.mul_add(b, sum))[0],
    )
}

/// Σ aᵢbᵢ for four vectors b: the bits that [`dot`] gives, and `a` read once.
pub(crate) fn dot_four(a: &[f32], b: [&[f32]; 4]) -> [f32; 4] {
    vectorised(
        #[inline(always)]
        || sums(a, b, |a, b, sum| a.mul_add(b, sum)),
    )
}

/// Σ (aᵢ − bᵢ)².
pub(crate) fn squared_l2(a: &[f32], b: &[f32]) -> f32 {
    vectorised(
        #[inline(always)]
        || sums(a, [b], |a, b, sum| (a - b).mul_add(a - b, sum))[0],
    )
}

/// Σ (aᵢ − bᵢ)² for four vectors b: the bits that [`squared_l2`] gives, and `a` read once.
pub(crate) fn squared_l2_four(a: &[f32], b: [&[f32]; 4]) -> [f32; 4] {
    vectorised(
        #[inline(always)]
        || sums(a, b, |a, b, sum| (a - b).mul_add(a - b, sum)),
    )
}

/// The sums of `step` over the places of `a` and each of `b`.
#[inline(always)]
fn sums<const N: usize>(a: &[f32], b: [&[f32]; N], step: impl Fn(f32, f32, f32) -> f32 + Copy) -> [f32; N] {
    let len = a.len();
    for b in b {
        assert_eq!(b.len(), len, "vectors of one length");
    }
    let whole = len / LANES * LANES;
    let mut sums = [[0f32; LANES]; N];
    let mut at = 0;
    while at < whole {
        // SAFETY: at + LANES ≤ whole ≤ len, and every slice holds len values (asserted above).
        unsafe {
            let a = a.as_ptr().add(at).cast::<[f32; LANES]>().read();
            for (b, sums) in b.iter().zip(&mut sums) {
                let b = b.as_ptr().add(at).cast::<[f32; LANES]>().read();
                for lane in 0..LANES {
                    sums[lane] = step(a[lane], b[lane], sums[lane]);
                }
            }
        }
        at += LANES;
    }
    let mut out = [0f32; N];
    for n in 0..N {
        let mut rest = 0.0;
        for i in whole..len {
            rest = step(a[i], b[n][i], rest);
        }
        out[n] = fold(sums[n]) + rest;
    }
    out
}

/// Σ wᵢcᵢ for codes c of one byte.
pub(crate) fn dot_bytes(weights: &[f32], codes: &[u8]) -> f32 {
    vectorised(
        #[inline(always)]
        || byte_sums(weights, [codes])[0],
    )
}

/// Σ wᵢcᵢ for four vectors of codes: the bits that [`dot_bytes`] gives.
pub(crate) fn dot_bytes_four(weights: &[f32], codes: [&[u8]; 4]) -> [f32; 4] {
    vectorised(
        #[inline(always)]
        || byte_sums(weights, codes),
    )
}

#[inline(always)]
fn byte_sums<const N: usize>(weights: &[f32], codes: [&[u8]; N]) -> [f32; N] {
    let (blocks, rest) = weights.as_chunks::<LANES>();
    let mut out = [0f32; N];
    // Loops and no closures: what is not inlined would not be compiled for the processor at hand.
    for n in 0..N {
        let (codes, codes_rest) = codes[n][..weights.len()].as_chunks::<LANES>();
        let mut sums = [0f32; LANES];
        for (w, c) in blocks.iter().zip(codes) {
            for lane in 0..LANES {
                sums[lane] = w[lane].mul_add(f32::from(c[lane]), sums[lane]);
            }
        }
        let mut tail = 0f32;
        for (w, c) in rest.iter().zip(codes_rest) {
            tail = w.mul_add(f32::from(*c), tail);
        }
        out[n] = fold(sums) + tail;
    }
    out
}

/// The sum of the lanes, halves added to each other.
#[inline(always)]
fn fold(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Asks the processor to bring the first `lines` cache lines of `values` near: for rows that a loop will come to soon, in an order
/// that it cannot guess.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T], lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines.min(size_of_val(values).div_ceil(64)) {
        // SAFETY: a hint; it reads nothing and cannot fault.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(values.as_ptr().cast::<i8>().wrapping_add(64 * line))
        };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, lines);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Stream};

    #[test]
    fn sums_are_those_of_f64_at_every_length_and_the_same_bits_by_four() {
        let mut rng = Rng::keyed(1, Stream::Sample, 0);
        for len in (0..70).chain([255, 784]) {
            let mut draw = || (0..len).map(|_| rng.normal() as f32).collect::<Vec<_>>();
            let (a, b) = (draw(), [draw(), draw(), draw(), draw()]);
            let codes: [Vec<u8>; 4] = std::array::from_fn(|i| (0..len).map(|j| ((i * 91 + j * 57) % 256) as u8).collect());
            let by_four = [dot_four(&a, b.each_ref().map(|b| &b[..])), squared_l2_four(&a, b.each_ref().map(|b| &b[..]))];
            let bytes_by_four = dot_bytes_four(&a, codes.each_ref().map(|c| &c[..]));
            for i in 0..4 {
                let sum = |f: &dyn Fn(f64, usize) -> f64| a.iter().enumerate().map(|(j, &a)| f(f64::from(a), j)).sum::<f64>();
                for (found, expected) in [
                    (dot(&a, &b[i]), sum(&|a, j| a * f64::from(b[i][j]))),
                    (squared_l2(&a, &b[i]), sum(&|a, j| (a - f64::from(b[i][j])).powi(2))),
                    (dot_bytes(&a, &codes[i]) / 256.0, sum(&|a, j| a * f64::from(codes[i][j]) / 256.0)),
                ] {
                    assert!((f64::from(found) - expected).abs() < 1e-6 * (len as f64 + 1.0), "{len}: {found} {expected}");
                }
                assert_eq!(dot(&a, &b[i]).to_bits(), by_four[0][i].to_bits());
                assert_eq!(squared_l2(&a, &b[i]).to_bits(), by_four[1][i].to_bits());
                assert_eq!(dot_bytes(&a, &codes[i]).to_bits(), bytes_by_four[i].to_bits());
            }
        }
    }

    #[test]
    fn the_copy_for_any_processor_gives_the_same_bits() {
        let mut rng = Rng::keyed(2, Stream::Sample, 0);
        let a: Vec<f32> = (0..75).map(|_| rng.normal() as f32).collect();
        let b: Vec<f32> = (0..75).map(|_| rng.normal() as f32).collect();
        assert_eq!(dot(&a, &b).to_bits(), sums(&a, [&b], |a, b, sum| a.mul_add(b, sum))[0].to_bits());
        assert_eq!(squared_l2(&a, &b).to_bits(), sums(&a, [&b], |a, b, sum| (a - b).mul_add(a - b, sum))[0].to_bits());
    }
}
