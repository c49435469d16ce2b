//! Plots as SVG within a page: lines over an axis, points in the plane, recall against speed. Plotters draws them.

use std::ops::Range;

use anyhow::Result;
use plotters::prelude::*;

use crate::page::escape;

/// Colours that are told apart, most needed first.
pub const COLOURS: [RGBColor; 10] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(188, 189, 34),
    RGBColor(23, 190, 207),
    RGBColor(20, 40, 90),
];
/// What has no colour of its own.
const OTHERS: RGBColor = RGBColor(200, 200, 200);
/// Pixels of a plot of lines.
const LINES: (u32, u32) = (832, 280);
/// Pixels of a plot of recall against speed.
const SPEEDS: (u32, u32) = (832, 480);
/// Pixels of a plot of points: a square, so that a distance is the same in all directions.
const POINTS: (u32, u32) = (832, 832);
/// Size of letters and numbers.
const LETTERS: u32 = 17;
/// Share of an axis that is left free beyond the outermost values.
const MARGIN: f64 = 0.03;

/// A line of a plot.
#[derive(Clone)]
pub struct Line {
    /// The number of its colour.
    pub colour: usize,
    /// (x, y), x rising.
    pub points: Vec<(f64, f64)>,
}

/// A point of a plot.
pub struct Dot {
    /// Where it lies.
    pub at: [f32; 2],
    /// The number of its colour; grey without one.
    pub colour: Option<usize>,
}

/// Lines over one axis; a line of one point is a dot.
///
/// # Errors
/// plotters' own.
pub fn lines(x: &str, lines: &[Line]) -> Result<String> {
    axes(LINES, [x, ""], lines, &[], &|y| y.to_string())
}

/// Queries a second, on a logarithmic axis, over recall: a line through the points of each of `lines`, and `others` as points alone.
///
/// # Errors
/// plotters' own.
pub fn speeds(recall: &str, lines: &[Line], others: &[Line]) -> Result<String> {
    let logarithmic = |line: &Line| Line { colour: line.colour, points: line.points.iter().map(|&(x, y)| (x, y.log10())).collect() };
    let [lines, others] = [lines, others].map(|lines| lines.iter().map(logarithmic).collect::<Vec<_>>());
    let speed = |y: &f64| {
        let speed = 10f64.powf(*y);
        if speed < 10.0 { format!("{speed:.1}") } else { format!("{speed:.0}") }
    };
    let dots: Vec<Line> = [&lines[..], &others].concat();
    axes(SPEEDS, [recall, "queries a second"], &lines, &dots, &speed)
}

/// Lines and points over two axes.
fn axes(size: (u32, u32), [x, y]: [&str; 2], lines: &[Line], dots: &[Line], y_label: &dyn Fn(&f64) -> String) -> Result<String> {
    let points = || lines.iter().chain(dots).flat_map(|line| &line.points);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(range(points().map(|p| p.0)), range(points().map(|p| p.1)))?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(8)
            .y_labels(6)
            .y_label_formatter(&y_label)
            .x_label_formatter(&|x| ((x * 1e6).round() / 1e6).to_string())
            .label_style(("sans-serif", LETTERS))
            .axis_desc_style(("sans-serif", LETTERS))
            .x_desc(x)
            .y_desc(y)
            .draw()?;
        for line in lines {
            let size = if dots.is_empty() && line.points.len() == 1 { 3 } else { 0 };
            let style = colour(Some(line.colour)).stroke_width(2);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(size))?;
        }
        for line in dots {
            chart.draw_series(line.points.iter().map(|&at| Circle::new(at, 3, colour(Some(line.colour)).filled())))?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// Points in the plane, around 0; the first `numbered` ones carry the numbers from 1 on.
///
/// # Errors
/// plotters' own.
pub fn dots(dots: &[Dot], numbered: usize) -> Result<String> {
    let reach = dots.iter().flat_map(|dot| dot.at).fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs())) * (1.0 + MARGIN as f32);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, POINTS).into_drawing_area();
        let mut chart = ChartBuilder::on(&root).build_cartesian_2d(-reach..reach, -reach..reach)?;
        // Grey ones lie beneath.
        for coloured in [false, true] {
            let layer = dots.iter().filter(|dot| dot.colour.is_some() == coloured);
            chart.draw_series(layer.map(|dot| Circle::new((dot.at[0], dot.at[1]), 3, colour(dot.colour).mix(0.8).filled())))?;
        }
        let font = ("sans-serif", LETTERS, FontStyle::Bold).into_font();
        let numbers = dots.iter().take(numbered).enumerate();
        chart.draw_series(numbers.map(|(i, dot)| Text::new((i + 1).to_string(), (dot.at[0], dot.at[1]), font.clone())))?;
        root.present()?;
    }
    Ok(svg)
}

/// What the colours mean, by their numbers; grey without one.
pub fn legend(entries: &[(Option<usize>, String)]) -> String {
    let entry = |(number, text): &(Option<usize>, String)| {
        let RGBColor(r, g, b) = colour(*number);
        format!("<span><span style='color:rgb({r},{g},{b});margin:0'>●</span> {}</span> ", escape(text))
    };
    format!("<p class=legend>{}</p>", entries.iter().map(entry).collect::<String>())
}

fn colour(number: Option<usize>) -> RGBColor {
    number.map_or(OTHERS, |number| COLOURS[number % COLOURS.len()])
}

/// An axis that shows `values`; where all are one, that one is in its middle.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let free = if high > low { (high - low) * MARGIN } else { low.abs().max(1.0) / 2.0 };
    low - free..high + free
}
