//! Random draws keyed by what they are for, so that no draw depends on a thread or on what was drawn before.

/// What a draw is for. Two streams of one seed share nothing.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Stream {
    /// Levels of a graph's nodes.
    Levels = 1,
    /// Hyperplanes of a tree.
    Hyperplanes = 2,
    /// Which rows a quantiser learns from.
    Sample = 3,
    /// First centroids.
    Centroids = 4,
    /// Mini-batches.
    Batches = 5,
    /// Which vectors become queries.
    HeldOut = 6,
}

/// A small, fast generator (SplitMix64: Steele, Lea, Flood 2014) whose start is a hash of its key.
pub(crate) struct Rng {
    state: u64,
}

/// The SplitMix64 finaliser: a bijection on 64 bits in which every input bit moves every output bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// The generator of one key.
    pub(crate) fn keyed(seed: u64, stream: Stream, index: u64) -> Self {
        let mut state = mix(seed.wrapping_add(GOLDEN));
        for part in [stream as u64, index] {
            state = mix(state ^ mix(part.wrapping_add(GOLDEN)));
        }
        Self { state }
    }

    /// 64 uniform bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A whole number in `0..n`, each equally likely to one part in 2³².
    ///
    /// # Panics
    /// where `n` is 0 or above 2³².
    pub(crate) fn below(&mut self, n: usize) -> usize {
        assert!(n > 0 && n as u64 <= 1 << 32, "no draw below {n}");
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A draw from the standard normal distribution (Box–Muller, one of the pair).
    #[cfg(test)]
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }

    /// `count` different numbers of `0..n` in rising order (Vitter 1984, algorithm S); all of them where there are no more.
    pub(crate) fn sample(&mut self, n: usize, count: usize) -> Vec<u32> {
        let mut out = Vec::with_capacity(count.min(n));
        for i in 0..n {
            let missing = count.min(n) - out.len();
            if self.unit() * ((n - i) as f64) < missing as f64 {
                out.push(i as u32);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_always_gives_the_same_numbers_and_neighbours_give_others() {
        let first = |seed, index| Rng::keyed(seed, Stream::Levels, index).bits();
        assert_eq!(first(1, 2), first(1, 2));
        assert!(first(1, 2) != first(2, 2) && first(1, 2) != first(1, 3) && first(1, 2) != first(2, 1));
    }

    #[test]
    fn draws_below_n_are_even() {
        let mut rng = Rng::keyed(7, Stream::Sample, 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7)] += 1;
        }
        assert!(counts.iter().all(|&c| (9_600..10_400).contains(&c)), "{counts:?}");
    }

    #[test]
    fn a_sample_has_as_many_different_numbers_as_asked_for() {
        for (n, count) in [(0, 3), (5, 0), (5, 5), (5, 9), (1000, 100)] {
            let found = Rng::keyed(7, Stream::Sample, 1).sample(n, count);
            assert_eq!(found.len(), n.min(count));
            assert!(found.windows(2).all(|w| w[0] < w[1]) && found.iter().all(|&i| (i as usize) < n));
        }
    }

    #[test]
    fn normal_draws_have_mean_0_and_variance_1() {
        let mut rng = Rng::keyed(7, Stream::Sample, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| d * d).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
