//! The chart of a comparison: exposed, bricked and recovered over time, a colour a policy. Legible in print and without
//! colour: each policy has its name at its own line. Must stay out: the figures themselves.

use crate::outcome::{Comparison, Point, number, time};
use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontStyle, register_font},
};
use thiserror::Error;

const SIZE: (u32, u32) = (1_200, 760);
/// Dark enough for paper, apart for most colour-blind eyes (Okabe, Ito: "Color universal design", 2008).
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(150, 110, 0),
    RGBColor(86, 150, 205),
    RGBColor(120, 60, 140),
    RGBColor(110, 110, 110),
];

/// Which count a panel shows.
type Pick = fn(&Point) -> u64;

/// Why there is no chart.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("draw the chart of {scenario}: {problem}")]
pub struct ChartError {
    pub scenario: String,
    pub problem: String,
}

/// The chart as SVG.
pub fn svg(comparison: &Comparison) -> Result<String, ChartError> {
    let mut text = String::new();
    draw(comparison, &SVGBackend::with_string(&mut text, SIZE).into_drawing_area())
        .map_err(|problem| error(comparison, problem))?;
    Ok(text)
}

/// The chart as PNG.
pub fn png(comparison: &Comparison) -> Result<Vec<u8>, ChartError> {
    let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
    draw(comparison, &BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area())
        .map_err(|problem| error(comparison, problem))?;
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
    written.map_err(|problem| error(comparison, problem.to_string()))?;
    Ok(out)
}

fn error(comparison: &Comparison, problem: String) -> ChartError {
    ChartError { scenario: comparison.scenario.clone(), problem }
}

fn draw<B: DrawingBackend>(comparison: &Comparison, area: &DrawingArea<B, Shift>) -> Result<(), String> {
    // Registered once a process; a second time changes nothing.
    let font = epaint_default_fonts::UBUNTU_LIGHT;
    register_font("sans-serif", FontStyle::Normal, font).map_err(|_| "the font is not valid".to_string())?;
    paint(comparison, area).map_err(|problem| problem.to_string())
}

fn paint<B: DrawingBackend>(
    comparison: &Comparison,
    area: &DrawingArea<B, Shift>,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    area.fill(&WHITE)?;
    let title =
        format!("{}: {} devices, seed {}", comparison.scenario, number(u64::from(comparison.devices)), comparison.seed);
    let area = area.titled(&title, ("sans-serif", 26))?;
    let panels = area.split_evenly((1, 3));
    let pick: [(&str, Pick); 3] = [
        ("exposed", |point| point.exposed),
        ("bricked", |point| point.bricked),
        ("recovered", |point| point.recovered),
    ];
    for (panel, (what, value)) in panels.iter().zip(pick) {
        paint_panel(comparison, panel, what, value)?;
    }
    Ok(())
}

/// One of exposed, bricked, recovered; both axes logarithmic, because policies differ by six orders of magnitude.
fn paint_panel<B: DrawingBackend>(
    comparison: &Comparison,
    area: &DrawingArea<B, Shift>,
    what: &str,
    value: Pick,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let last = comparison.policies.iter().flat_map(|policy| policy.curve.last()).map(|point| point.at_s).max();
    let end = f64::from(last.unwrap_or(0).max(3_600)) * 1.02;
    let top = f64::from(comparison.devices.max(10)) * 1.5;
    let mut chart = ChartBuilder::on(area)
        .caption(what, ("sans-serif", 20))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(84)
        .build_cartesian_2d((60.0..end).log_scale(), (0.8..top).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(6)
        .x_label_formatter(&|at| time(*at as u32))
        .y_label_formatter(&|count| number(count.round() as u64))
        .label_style(("sans-serif", 13))
        .draw()?;
    // Names of lines that end near each other stand one below the other.
    let mut taken: Vec<f64> = Vec::new();
    let mut order: Vec<(usize, u64)> =
        comparison.policies.iter().enumerate().map(|(at, policy)| (at, policy.curve.last().map_or(0, value))).collect();
    order.sort_by_key(|(at, count)| (std::cmp::Reverse(*count), *at));
    for (at, count) in order {
        let policy = &comparison.policies[at];
        if count == 0 {
            continue;
        }
        let colour = COLOURS[at % COLOURS.len()];
        let mut line: Vec<(f64, f64)> = Vec::new();
        for point in policy.curve.iter().filter(|point| value(point) > 0) {
            let (x, y) = (f64::from(point.at_s).max(60.0), value(point) as f64);
            // A step: it stays what it was until it changes.
            line.extend(line.last().map(|(_, before)| (x, *before)));
            line.push((x, y));
        }
        line.push((end, count as f64));
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
        let mut y = count as f64 * 1.45;
        while let Some(near) = taken.iter().find(|other| (libm::log(y / **other)).abs() < 0.42).copied() {
            y = near / 1.54;
        }
        taken.push(y);
        let label = format!("{} {}", policy.name, number(count));
        let style = ("sans-serif", 14).into_font().color(&colour);
        chart.draw_series([Text::new(label, (66.0, y.max(0.85)), style)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    #[test]
    fn both_forms_are_drawn_and_the_policies_are_named() {
        let policy = |name: &str, exposed| Outcome {
            name: name.into(),
            exposed,
            bricked: exposed,
            recovered: 0,
            halted_after_s: None,
            completed_after_s: None,
            verdict: String::new(),
            needs_a_person: false,
            holds: 0,
            waves: 0,
            busiest: 0,
            curve: vec![Point::default(), Point { at_s: 300, exposed, bricked: exposed, recovered: 0 }],
        };
        let policies = vec![policy("ours", 4), policy("everybody", 8_500_000)];
        let comparison = Comparison { scenario: "test".into(), seed: 3, devices: 8_500_000, policies };
        let text = svg(&comparison).unwrap();
        assert!(text.contains("everybody 8,500,000") && text.contains("ours 4"), "{text}");
        let image = png(&comparison).unwrap();
        assert_eq!(&image[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(image, png(&comparison).unwrap());
    }
}
