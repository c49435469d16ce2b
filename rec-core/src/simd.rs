//! The same code, compiled for the processor at hand.

/// Runs `work` in a copy that is compiled for AVX-512, or for AVX2 and FMA, where the processor has them.
///
/// Write `vectorised(#[inline(always)] || …)`: a closure that is not inlined into the copy is not compiled for it, and neither is
/// whatever it calls without being inlined. Floating-point results do not depend on
/// which copy runs: the compiler neither fuses nor reorders operations, and `mul_add` is exact everywhere.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn with_avx512<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        #[target_feature(enable = "avx2,fma")]
        fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if has_avx512() {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { with_avx512(work) };
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { with_avx2(work) };
        }
    }
    work()
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("avx2") && has!("fma")
}

/// Σ a·b in sixteen lanes: as fast as the processor adds, in an order that is always the same.
#[inline(always)]
pub fn lane_dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    let mut sums = [0f32; 16];
    for (x, y) in a.iter().zip(b) {
        sums = std::array::from_fn(|lane| sums[lane] + x[lane] * y[lane]);
    }
    fold(sums) + rest
}

/// Σ a·b in 32 lanes by fused multiply-adds: faster than [`lane_dot`] on long vectors, in an order that is always the same too.
#[inline(always)]
pub fn fused_dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let rest = a_rest.iter().zip(b_rest).fold(0f32, |sum, (x, y)| x.mul_add(*y, sum));
    let mut sums = [0f32; 32];
    for (x, y) in a.iter().zip(b) {
        sums = std::array::from_fn(|lane| x[lane].mul_add(y[lane], sums[lane]));
    }
    fold(sums) + rest
}

/// The sum of the lanes, halves added to each other.
#[inline(always)]
pub fn fold<const LANES: usize>(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Σ values in sixteen lanes, in an order that is always the same.
#[inline(always)]
pub fn sum(values: &[f32]) -> f32 {
    let (blocks, rest) = values.as_chunks::<16>();
    let mut sums = [0f32; 16];
    for block in blocks {
        sums = std::array::from_fn(|lane| sums[lane] + block[lane]);
    }
    sums.iter().chain(rest).sum()
}

/// The largest of the values, NaN left out; −∞ where there is none.
#[inline(always)]
pub fn largest(values: &[f32]) -> f32 {
    let (blocks, rest) = values.as_chunks::<16>();
    let mut most = [f32::NEG_INFINITY; 16];
    for block in blocks {
        most = std::array::from_fn(|lane| if block[lane] > most[lane] { block[lane] } else { most[lane] });
    }
    most.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

/// eˣ with a relative error below 2·10⁻⁷, in operations that the compiler vectorises. Beyond −87 and 88 it is what it is there.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // 1.5·2²³: a sum with it has its whole part in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    // x = n ln 2 + r with |r| ≤ ln 2 / 2; ln 2 in two parts, of which n times the first is exact.
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, x));
    // Coefficients of Cephes's expf.
    let mut sum = 1.987_569_1e-4f32;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0] {
        sum = sum.mul_add(r, c);
    }
    f32::from_bits(sum.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// Asks the processor to bring `values` near: for rows that a loop will come to soon, in an order that it cannot guess.
#[inline(always)]
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(64 / size_of::<T>()) {
        // SAFETY: a hint; it reads nothing and cannot fault.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_that_of_f64_to_a_few_units_of_the_last_place() {
        for i in -86_000..=88_000i32 {
            let x = i as f32 / 1_000.0;
            let (found, expected) = (
                f64::from(vectorised(
                    #[inline(always)]
                    || exp(x),
                )),
                f64::from(x).exp(),
            );
            assert!((found / expected - 1.0).abs() < 2e-7, "e^{x}: {found} for {expected}");
        }
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(f32::INFINITY).is_finite() && exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }
}
