//! The items of a map: which are drawn, what they are called, and which genres have a colour.

use std::cmp::Reverse;

use anyhow::Result;
use rec_core::model::Vectors;
use rec_data::Interactions;

use super::{FEWEST, Genres, Purity, places};
use crate::plot::COLOURS;

/// Items that are drawn at most.
pub const MOST_DRAWN: usize = 5_000;

/// The items with a training row: those for which a model has learned a vector. The same for runs whose maps stand beside each other.
pub struct Items {
    /// Most popular first.
    items: Vec<u32>,
    titles: Vec<String>,
    genres: Option<Genres>,
    coloured: Vec<(u32, usize)>,
}

/// What one model makes of them.
pub struct ItemMap {
    /// Where t-SNE places the drawn items.
    pub places: Vec<[f32; 2]>,
    /// Of all items that have a genre; `None` where the data has no genres, or hardly any.
    pub purity: Option<Purity>,
}

impl Items {
    /// The items of `data` that have a training row; `rows` counts those of each item. `None` where they are too few for a picture.
    pub fn new(data: &Interactions, rows: &[u32]) -> Option<Self> {
        let mut items: Vec<u32> = (0..data.num_items() as u32).filter(|&item| rows[item as usize] > 0).collect();
        if items.len() < FEWEST {
            return None;
        }
        items.sort_by_key(|&item| Reverse(rows[item as usize]));
        let genres = Genres::new(&data.item_features);
        let coloured = genres.as_ref().map_or(Vec::new(), |genres| most_frequent(genres, &items[..items.len().min(MOST_DRAWN)]));
        Some(Self { items, titles: titles(data), genres, coloured })
    }

    /// All of them, most popular first; of equal ones the lower number.
    pub fn all(&self) -> &[u32] {
        &self.items
    }

    /// The most popular ones, which are drawn.
    pub fn drawn(&self) -> &[u32] {
        &self.items[..self.items.len().min(MOST_DRAWN)]
    }

    /// The title of an item; its raw id where the data has no titles.
    pub fn title(&self, item: u32) -> &str {
        &self.titles[item as usize]
    }

    /// Their genres, where the data has some.
    pub fn genres(&self) -> Option<&Genres> {
        self.genres.as_ref()
    }

    /// The genres that have a colour, most frequent first, and how many drawn items are of that colour.
    pub fn coloured(&self) -> &[(u32, usize)] {
        &self.coloured
    }

    /// The number of an item's colour: that of its first genre, where this has one.
    pub fn colour(&self, item: u32) -> Option<usize> {
        let first = self.genres.as_ref()?.of(item).first()?;
        self.coloured.iter().position(|(genre, _)| genre == first)
    }

    /// The map of a model's `vectors`, a row for each item of the data.
    ///
    /// # Errors
    /// a numeric problem where a vector is not finite.
    pub fn map(&self, vectors: &Vectors) -> Result<ItemMap> {
        let purity = match &self.genres {
            Some(genres) => Purity::new(vectors, genres, &self.items)?,
            None => None,
        };
        Ok(ItemMap { places: places(&vectors.select(self.drawn()), vectors.dim)?, purity })
    }
}

/// The title of each item of `data`; raw ids where it has none.
pub fn titles(data: &Interactions) -> Vec<String> {
    match data.item_features.get("title") {
        Some(titles) => (0..data.num_items()).map(|item| titles.text(item)).collect(),
        None => data.item_ids.iter().map(str::to_owned).collect(),
    }
}

/// The genres that most of `items` have first, as many as there are colours, each with its number of items.
fn most_frequent(genres: &Genres, items: &[u32]) -> Vec<(u32, usize)> {
    let mut counts = std::collections::BTreeMap::<u32, usize>::new();
    items.iter().filter_map(|&item| genres.of(item).first()).for_each(|&genre| *counts.entry(genre).or_default() += 1);
    let mut counts: Vec<(u32, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| Reverse(count));
    counts.truncate(COLOURS.len());
    counts
}
