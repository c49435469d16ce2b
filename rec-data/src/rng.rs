//! Random draws keyed by what they are for, never by the thread that makes them.
//!
//! `Rng::keyed(seed, stream, epoch, index)` gives the same numbers whoever asks and whenever: a batch can be made ahead, again after
//! a resume, or on another thread, and stays the same to the bit.

/// What a draw is for. Two streams of one seed share nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Assigning rows to train, valid and test.
    Split = 1,
    /// Carving a validation part out of the training rows.
    Nested = 2,
    /// The order of the training rows in an epoch.
    Shuffle = 3,
    /// Negative items of a training row.
    Negatives = 4,
    /// Candidate items of an evaluated user.
    Candidates = 5,
    /// Initial values of parameters.
    Init = 6,
    /// Resampling of users for a bootstrap interval.
    Bootstrap = 7,
    /// Per-step re-seeding of libtorch (dropout and the like).
    Step = 8,
    /// Augmented views of a sequence.
    Views = 9,
    /// Edges and nodes of a graph that a step leaves out.
    Edges = 10,
    /// Positive items that are drawn instead of taken in turn.
    Positives = 11,
    /// Generated rows and the truth that is planted in them.
    Generated = 12,
    /// Rows of a window, where they are shuffled by blocks.
    Window = 13,
}

/// A small, fast generator (SplitMix64: Steele, Lea, Flood 2014) whose start is a hash of its key.
#[derive(Clone, Debug)]
pub struct Rng {
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
    pub fn keyed(seed: u64, stream: Stream, epoch: u64, index: u64) -> Self {
        let mut state = mix(seed.wrapping_add(GOLDEN));
        for part in [stream as u64, epoch, index] {
            state = mix(state ^ mix(part.wrapping_add(GOLDEN)));
        }
        Self { state }
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A whole number in `0..n`, each equally likely (Lemire 2019, without bias).
    ///
    /// # Panics
    /// where `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "nothing is below 0");
        let mut wide = (self.bits() >> 32) * u64::from(n);
        if (wide as u32) < n {
            let threshold = n.wrapping_neg() % n;
            while (wide as u32) < threshold {
                wide = (self.bits() >> 32) * u64::from(n);
            }
        }
        (wide >> 32) as u32
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A draw from the standard normal distribution (Box–Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }

    /// Puts `values` in a uniformly random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

/// 32 bits hashed from a key: what libtorch's CPU generator, which looks at no more, is seeded with.
pub fn torch_seed(seed: u64, epoch: u64, step: u64) -> i64 {
    i64::from((Rng::keyed(seed, Stream::Step, epoch, step).bits() >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_always_gives_the_same_numbers_and_neighbours_give_others() {
        let first = |seed, epoch, index| Rng::keyed(seed, Stream::Shuffle, epoch, index).bits();
        assert_eq!(first(1, 2, 3), first(1, 2, 3));
        let all = [first(1, 2, 3), first(2, 2, 3), first(1, 3, 3), first(1, 2, 4), first(1, 3, 2)];
        assert!((0..5).all(|i| (0..i).all(|j| all[i] != all[j])));
    }

    #[test]
    fn draws_below_n_are_even() {
        let mut rng = Rng::keyed(7, Stream::Negatives, 0, 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (9_600..10_400).contains(&c)), "{counts:?}");
    }

    #[test]
    fn normal_draws_have_mean_0_and_variance_1() {
        let mut rng = Rng::keyed(7, Stream::Init, 0, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| d * d).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
