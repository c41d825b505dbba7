//! Line plots and scatter plots as SVG that reads on paper, on a dark page, and without telling
//! colours apart: every series has its own dash and its own marker beside its colour (Okabe and Ito's,
//! which the colour-blind can tell apart).

mod scale;
mod svg;

pub(crate) use svg::escape;
pub use svg::render;

/// A figure: panels side by side that share a legend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// What it shows, for those who cannot see it.
    pub description: String,
    /// From left to right.
    pub panels: Vec<Panel>,
    /// Width of a panel in pixels.
    pub panel_width: f64,
    /// Height of a panel in pixels.
    pub panel_height: f64,
}

/// One plot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// Above it.
    pub title: String,
    /// What the horizontal axis tells.
    pub x_label: String,
    /// What the vertical axis tells.
    pub y_label: String,
    /// Whether the vertical axis begins at zero.
    pub y_from_zero: bool,
    /// The range of the vertical axis, where several panels are to share one.
    pub y_range: Option<(f64, f64)>,
    /// The data.
    pub series: Vec<Series>,
    /// A vertical line, and what it says.
    pub limit: Option<(f64, String)>,
}

/// Points of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Which dash, marker and colour it has; equal in all panels.
    pub style: usize,
    /// Whether a line joins the points.
    pub line: bool,
    /// Whether the points have markers.
    pub markers: bool,
    /// The points, from left to right where a line joins them.
    pub points: Vec<(f64, f64)>,
    /// Lower and upper end of a band around the line, one for each point, or none at all.
    pub band: Vec<(f64, f64)>,
    /// What to write beside points: position in `points`, and the text.
    pub labels: Vec<(usize, String)>,
}
