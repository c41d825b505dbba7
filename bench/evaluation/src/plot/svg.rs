//! Figures as SVG.

use std::fmt::Write;

use super::scale::{Scale, label, range, ticks};
use super::{Figure, Panel, Series};

const TOP: f64 = 30.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// Height of a legend line in pixels.
const LEGEND: f64 = 26.0;

/// Dash of each style. The colours are in [`STYLE`].
const DASHES: [&str; 6] = ["", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2", "1 2"];

/// Colours follow those of the page. The series have Okabe and Ito's colours, a little lighter on a
/// dark page.
const STYLE: &str = "<style>\
.ep text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328}\
.ep .title{font-weight:600;font-size:13px}.ep .small{font-size:10.5px}\
.ep .axis{stroke:#59636e;fill:none}.ep .grid{stroke:#d1d9e0;stroke-width:.7;fill:none}\
.ep .limit{stroke:#59636e;stroke-dasharray:3 3;fill:none}\
.ep .line{fill:none;stroke-width:2;stroke-linejoin:round}.ep .band{stroke:none;opacity:.15}\
.ep .mark{stroke-width:1.6}\
.ep .s0{stroke:#0072b2;color:#0072b2}.ep .s1{stroke:#d55e00;color:#d55e00}\
.ep .s2{stroke:#009e73;color:#009e73}.ep .s3{stroke:#cc79a7;color:#cc79a7}\
.ep .s4{stroke:#1f2328;color:#1f2328}.ep .s5{stroke:#e69f00;color:#e69f00}\
.ep .band,.ep .full{fill:currentColor}.ep .hollow{fill:none}\
@media(prefers-color-scheme:dark){.ep text{fill:#e6edf3}.ep .axis,.ep .limit{stroke:#9198a1}\
.ep .grid{stroke:#3d444d}.ep .s0{stroke:#56b4e9;color:#56b4e9}.ep .s1{stroke:#f08a3c;color:#f08a3c}\
.ep .s2{stroke:#2dc499;color:#2dc499}.ep .s4{stroke:#e6edf3;color:#e6edf3}.ep .band{opacity:.2}}\
@media print{.ep text{fill:#000}.ep .axis,.ep .limit{stroke:#000}.ep .grid{stroke:#bbb}\
.ep .s0{stroke:#0072b2;color:#0072b2}.ep .s1{stroke:#d55e00;color:#d55e00}\
.ep .s2{stroke:#009e73;color:#009e73}.ep .s4{stroke:#000;color:#000}}</style>";

/// The figure as an SVG document, which can also be embedded in an HTML page.
pub fn render(figure: &Figure) -> String {
    let panel = (LEFT + figure.panel_width + RIGHT, TOP + figure.panel_height + BOTTOM);
    let width = panel.0 * figure.panels.len().max(1) as f64;
    let legend = Legend::new(&figure.panels, width);
    let height = panel.1 + legend.height();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"ep\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         role=\"img\"><title>{}</title>{STYLE}",
        escape(&figure.description)
    );
    legend.write(&mut out);
    for (index, content) in figure.panels.iter().enumerate() {
        let (x, y) = (panel.0 * index as f64 + LEFT, legend.height() + TOP);
        let _ = write!(out, "<g transform=\"translate({x:.1} {y:.1})\">");
        Plot::new(content, figure).write(&mut out);
        out.push_str("</g>");
    }
    out.push_str("</svg>");
    out
}

/// Text escaped for XML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML does not allow control characters.
            control if control.is_control() && !control.is_whitespace() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

/// The names of all series in the order of their styles, in as many lines as needed.
struct Legend<'a> {
    entries: Vec<(&'a Series, f64, usize)>,
}

impl<'a> Legend<'a> {
    fn new(panels: &'a [Panel], width: f64) -> Self {
        let mut names: Vec<&Series> = Vec::new();
        for series in panels.iter().flat_map(|panel| &panel.series) {
            if !series.name.is_empty() && names.iter().all(|other| other.name != series.name) {
                names.push(series);
            }
        }
        names.sort_by_key(|series| series.style);
        let (mut x, mut line) = (LEFT, 0);
        let place = |series: &'a Series| {
            // A letter of this font is about 6.4 pixels wide.
            let own = 36.0 + 6.4 * series.name.chars().count() as f64;
            if x > LEFT && x + own > width {
                (x, line) = (LEFT, line + 1);
            }
            let at = x;
            x += own + 24.0;
            (series, at, line)
        };
        Self { entries: names.into_iter().map(place).collect() }
    }

    fn height(&self) -> f64 {
        let lines = self.entries.last().map_or(1, |entry| entry.2 + 1);
        LEGEND * lines as f64
    }

    fn write(&self, out: &mut String) {
        for &(series, x, row) in &self.entries {
            let y = LEGEND * (row as f64 + 0.5);
            if series.line {
                line(out, series.style, &format!("M{x:.1} {y:.1}h30"));
            }
            if series.markers {
                marker(out, series.style, (x + 15.0, y));
            }
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 36.0,
                y + 4.0,
                escape(&series.name)
            );
        }
    }
}

/// A panel with its scales.
struct Plot<'a> {
    panel: &'a Panel,
    size: (f64, f64),
    x_range: (f64, f64),
    y_range: (f64, f64),
}

impl<'a> Plot<'a> {
    fn new(panel: &'a Panel, figure: &Figure) -> Self {
        let points = || panel.series.iter().flat_map(|series| &series.points);
        let bands = panel.series.iter().flat_map(|series| &series.band);
        let heights = points().map(|point| point.1);
        let heights = heights.chain(bands.flat_map(|band| [band.0, band.1]));
        let limit = panel.limit.as_ref().map(|limit| limit.0);
        Self {
            panel,
            size: (figure.panel_width, figure.panel_height),
            x_range: range(points().map(|point| point.0).chain(limit), false),
            y_range: panel.y_range.unwrap_or_else(|| range(heights, panel.y_from_zero)),
        }
    }

    fn x(&self, value: f64) -> f64 {
        Scale::new(self.x_range, (0.0, self.size.0)).at(value)
    }

    fn y(&self, value: f64) -> f64 {
        Scale::new(self.y_range, (self.size.1, 0.0)).at(value)
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x(x), self.y(y))
    }

    fn write(&self, out: &mut String) {
        self.axes(out);
        if let Some((x, text)) = &self.panel.limit {
            let x = self.x(*x);
            // Puts the label on the side with more room.
            let (anchor, place) = match x > self.size.0 / 2.0 {
                true => ("end", x - 4.0),
                false => ("start", x + 4.0),
            };
            let _ = write!(
                out,
                "<path class=\"limit\" d=\"M{x:.1} 0V{:.1}\"/>\
                 <text class=\"small\" text-anchor=\"{anchor}\" x=\"{place:.1}\" \
                 y=\"10\">{}</text>",
                self.size.1,
                escape(text)
            );
        }
        for series in &self.panel.series {
            self.band(out, series);
        }
        for series in &self.panel.series {
            if series.line {
                line(out, series.style, &self.path(series.points.iter().copied()));
            }
        }
        for series in &self.panel.series {
            if series.markers {
                series.points.iter().for_each(|&point| marker(out, series.style, self.at(point)));
            }
            for (index, text) in &series.labels {
                let (x, y) = self.at(series.points[*index]);
                // Text that would leave the panel on the right goes to the left of its point.
                let (x, anchor) =
                    if x > self.size.0 * 0.7 { (x - 8.0, "end") } else { (x + 8.0, "start") };
                let _ = write!(
                    out,
                    "<text class=\"small\" text-anchor=\"{anchor}\" x=\"{x:.1}\" \
                     y=\"{:.1}\">{}</text>",
                    y + 12.0,
                    escape(text)
                );
            }
        }
    }

    fn axes(&self, out: &mut String) {
        let (width, height) = self.size;
        for tick in ticks(self.y_range) {
            let y = self.y(tick);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M0 {y:.1}H{width:.1}\"/>\
                 <text class=\"small\" text-anchor=\"end\" x=\"-6\" y=\"{:.1}\">{}</text>",
                y + 3.5,
                label(tick)
            );
        }
        let numbers = || ticks(self.x_range).into_iter().map(|tick| (tick, label(tick))).collect();
        let x_ticks: Vec<(f64, String)> = match self.panel.x_ticks.is_empty() {
            true => numbers(),
            false => self.panel.x_ticks.clone(),
        };
        for (tick, text) in x_ticks {
            let x = self.x(tick);
            let _ = write!(
                out,
                "<path class=\"axis\" d=\"M{x:.1} {height:.1}v4\"/>\
                 <text class=\"small\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                height + 16.0,
                escape(&text)
            );
        }
        let _ = write!(
            out,
            "<path class=\"axis\" d=\"M0 0V{height:.1}H{width:.1}\"/>\
             <text class=\"title\" x=\"0\" y=\"-12\">{}</text>\
             <text text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <text text-anchor=\"middle\" transform=\"translate(-48 {:.1}) rotate(-90)\">{}</text>",
            escape(&self.panel.title),
            width / 2.0,
            height + 34.0,
            escape(&self.panel.x_label),
            height / 2.0,
            escape(&self.panel.y_label),
        );
    }

    fn band(&self, out: &mut String, series: &Series) {
        if series.band.len() != series.points.len() || series.points.len() < 2 {
            return;
        }
        let ends = |upper: bool| {
            let ends = series.points.iter().zip(&series.band);
            ends.map(move |(point, band)| (point.0, if upper { band.1 } else { band.0 }))
        };
        let path = self.path(ends(true).chain(ends(false).rev()));
        let _ =
            write!(out, "<path class=\"band s{}\" d=\"{path}Z\"/>", series.style % DASHES.len());
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (index, point) in points.enumerate() {
            let (x, y) = self.at(point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
        }
        path
    }
}

fn line(out: &mut String, style: usize, path: &str) {
    let style = style % DASHES.len();
    let _ = write!(
        out,
        "<path class=\"line s{style}\" stroke-dasharray=\"{}\" d=\"{path}\"/>",
        DASHES[style]
    );
}

/// Circle, square, triangle, diamond, cross and ring.
fn marker(out: &mut String, style: usize, (x, y): (f64, f64)) {
    let style = style % DASHES.len();
    let path = match style {
        0 => format!("M{:.1} {y:.1}a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0Z", x - 3.6),
        1 => format!("M{:.1} {:.1}h6.8v6.8h-6.8Z", x - 3.4, y - 3.4),
        2 => format!("M{x:.1} {:.1}l4.2 7.4h-8.4Z", y - 4.6),
        3 => format!("M{x:.1} {:.1}l4.4 4.8l-4.4 4.8l-4.4-4.8Z", y - 4.8),
        4 => format!("M{:.1} {:.1}l7.2 7.2m0-7.2l-7.2 7.2", x - 3.6, y - 3.6),
        _ => format!("M{:.1} {y:.1}a6.5 6.5 0 1 0 13 0a6.5 6.5 0 1 0-13 0Z", x - 6.5),
    };
    let fill = if style < 4 { "full" } else { "hollow" };
    let _ = write!(out, "<path class=\"mark {fill} s{style}\" d=\"{path}\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure() -> Figure {
        let series = |name: &str, style, points: &[(f64, f64)]| Series {
            name: name.into(),
            style,
            line: true,
            markers: true,
            points: points.to_vec(),
            band: points.iter().map(|point| (point.1 - 1.0, point.1 + 1.0)).collect(),
            labels: vec![(0, "<first>".into())],
        };
        let panel = Panel {
            title: "a & b".into(),
            series: vec![
                series("one", 0, &[(-1.0, 5.0), (2.5, 9.0)]),
                series("two", 1, &[(-1.0, 6.0), (2.5, 7.0)]),
            ],
            limit: Some((1.0, "limit".into())),
            ..Default::default()
        };
        Figure {
            description: "a \"test\"".into(),
            panels: vec![panel.clone(), panel],
            panel_width: 200.0,
            panel_height: 100.0,
        }
    }

    /// Checks what a parser would: balanced tags, and no unescaped special characters.
    fn is_well_formed(text: &str) -> bool {
        let mut open = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('<') {
            let Some(end) = rest[start..].find('>') else {
                return false;
            };
            let tag = &rest[start + 1..start + end];
            if let Some(name) = tag.strip_prefix('/') {
                if open.pop() != Some(name) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().unwrap_or(""));
            }
            rest = &rest[start + end + 1..];
        }
        open.is_empty() && !rest.contains('>')
    }

    #[test]
    fn a_limits_text_stays_within_the_panel() {
        for (limit, anchor) in [(-0.9, "start"), (2.4, "end")] {
            let mut figure = figure();
            figure.panels[0].limit = Some((limit, "limit".into()));
            figure.panels.truncate(1);
            let text = render(&figure);
            let (before, _) = text.split_once(">limit<").expect("the text");
            let tag = &before[before.rfind('<').expect("its tag")..];
            assert!(tag.contains(&format!("text-anchor=\"{anchor}\"")), "{tag}");
        }
    }

    #[test]
    fn figures_are_well_formed_and_need_nothing_else() {
        let text = render(&figure());
        assert!(is_well_formed(&text), "{text}");
        assert!(
            text.contains("a &amp; b")
                && text.contains("&lt;first&gt;")
                && text.contains("a &quot;test&quot;")
        );
        assert!(!text.contains("NaN"));
        let addresses = text.matches("http").count();
        assert_eq!(addresses, 1, "only the name of the format looks like an address");
    }

    #[test]
    fn series_differ_in_more_than_colour() {
        let text = render(&figure());
        assert!(text.contains("class=\"line s0\" stroke-dasharray=\"\""));
        assert!(text.contains("class=\"line s1\" stroke-dasharray=\"7 3\""));
        assert_eq!(text.matches(">one</text>").count(), 1, "the legend names a series once");
    }

    #[test]
    fn a_legend_that_is_too_wide_goes_on_in_the_next_line() {
        let mut panel = figure().panels.remove(0);
        for series in &mut panel.series {
            series.name = series.name.repeat(10);
        }
        let rows = |width| -> Vec<usize> {
            let legend = Legend::new(std::slice::from_ref(&panel), width);
            legend.entries.iter().map(|entry| entry.2).collect()
        };
        assert_eq!(rows(300.0), [0, 1]);
        assert_eq!(rows(900.0), [0, 0]);
    }

    #[test]
    fn a_figure_without_points_is_empty_axes() {
        let text = render(&Figure {
            panels: vec![Panel::default()],
            panel_width: 50.0,
            panel_height: 50.0,
            ..Default::default()
        });
        assert!(is_well_formed(&text) && !text.contains("NaN"), "{text}");
    }
}
