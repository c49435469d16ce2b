//! Samplers of items: uniform, or in proportion to a power of popularity.

use crate::rng::Rng;

/// Draws items.
#[derive(Clone, Debug)]
pub enum Sampler {
    /// Every item equally likely.
    Uniform {
        /// The number of items.
        num_items: u32,
    },
    /// Item `i` with probability ∝ popularity(i)^α (alias method: Walker 1977, Vose 1991; one draw is two look-ups).
    Popularity {
        /// The chance of staying at a slot.
        stay: Vec<f64>,
        /// Where to go otherwise.
        alias: Vec<u32>,
        /// The probability of each item.
        probability: Vec<f64>,
    },
}

impl Sampler {
    /// The sampler with probabilities ∝ popularity^`alpha`; uniform at 0.
    pub fn new(alpha: f64, popularity: &[u32]) -> Self {
        if alpha == 0.0 {
            return Sampler::Uniform { num_items: popularity.len() as u32 };
        }
        let weights: Vec<f64> = popularity.iter().map(|&p| if p == 0 { 0.0 } else { f64::from(p).powf(alpha) }).collect();
        let total: f64 = weights.iter().sum();
        let n = weights.len();
        let probability: Vec<f64> = weights.iter().map(|w| w / total).collect();
        let mut scaled: Vec<f64> = probability.iter().map(|p| p * n as f64).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..n).partition(|&i| scaled[i] < 1.0);
        let (mut stay, mut alias) = (vec![1.0; n], (0..n as u32).collect::<Vec<_>>());
        while let (Some(s), Some(&l)) = (small.pop(), large.last()) {
            stay[s] = scaled[s];
            alias[s] = l as u32;
            scaled[l] -= 1.0 - scaled[s];
            if scaled[l] < 1.0 {
                large.pop();
                small.push(l);
            }
        }
        Sampler::Popularity { stay, alias, probability }
    }

    /// The same over items with a training row alone: at an `alpha` of 0, all of those alike.
    pub fn of_trained(alpha: f64, mut popularity: Vec<u32>) -> Self {
        if alpha == 0.0 && popularity.contains(&0) {
            popularity.iter_mut().for_each(|count| *count = (*count).min(1));
            return Self::new(1.0, &popularity);
        }
        Self::new(alpha, &popularity)
    }

    /// One item.
    #[inline]
    pub fn draw(&self, rng: &mut Rng) -> u32 {
        match self {
            Sampler::Uniform { num_items } => rng.below(*num_items),
            Sampler::Popularity { stay, alias, .. } => {
                let slot = rng.below(stay.len() as u32);
                // Both are read, so that there is no branch: which one it is cannot be guessed.
                let other = alias[slot as usize];
                if rng.unit() < stay[slot as usize] { slot } else { other }
            }
        }
    }

    /// The probability of drawing `item`: what a logQ correction subtracts the logarithm of.
    pub fn probability(&self, item: u32) -> f64 {
        match self {
            Sampler::Uniform { num_items } => 1.0 / f64::from(*num_items),
            Sampler::Popularity { probability, .. } => probability[item as usize],
        }
    }

    /// Whether `item` can be drawn at all.
    pub fn can_draw(&self, item: u32) -> bool {
        self.probability(item) > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn draws_follow_the_power_of_popularity() {
        let sampler = Sampler::new(0.5, &[1, 4, 0, 9]);
        let mut counts = [0f64; 4];
        let mut rng = Rng::keyed(3, Stream::Negatives, 0, 0);
        for _ in 0..60_000 {
            counts[sampler.draw(&mut rng) as usize] += 1.0;
        }
        assert_eq!(counts[2], 0.0);
        for (item, expected) in [(0, 10_000.0), (1, 20_000.0), (3, 30_000.0)] {
            assert!((counts[item] - expected).abs() < 500.0, "{counts:?}");
        }
    }
}
