//! Line plots and scatter plots as SVG. They are legible on paper, on a dark page and for the
//! colour-blind: every series has its own colour of Okabe and Ito's palette, dash and marker.

mod scale;
mod svg;

pub(crate) use svg::escape;
pub use svg::render;

/// Panels side by side that share a legend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// Description for people who cannot see the figure.
    pub description: String,
    /// The panels, from left to right.
    pub panels: Vec<Panel>,
    /// Width of a panel in pixels.
    pub panel_width: f64,
    /// Height of a panel in pixels.
    pub panel_height: f64,
}

/// One plot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// Text above the panel.
    pub title: String,
    /// Label of the horizontal axis.
    pub x_label: String,
    /// Label of the vertical axis.
    pub y_label: String,
    /// Whether the vertical axis begins at zero.
    pub y_from_zero: bool,
    /// Range of the vertical axis; computed from the data if `None`.
    pub y_range: Option<(f64, f64)>,
    /// The data.
    pub series: Vec<Series>,
    /// Positions and texts of the ticks of the horizontal axis, if they are not numbers.
    pub x_ticks: Vec<(f64, String)>,
    /// Position and label of a vertical line.
    pub limit: Option<(f64, String)>,
}

/// A series of points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Index of its dash, marker and colour, the same in all panels.
    pub style: usize,
    /// Whether a line joins the points.
    pub line: bool,
    /// Whether the points have markers.
    pub markers: bool,
    /// The points, from left to right if a line joins them.
    pub points: Vec<(f64, f64)>,
    /// Lower and upper end of a band around the line, for each point; may be empty.
    pub band: Vec<(f64, f64)>,
    /// Labels of points: the position in `points`, and the text.
    pub labels: Vec<(usize, String)>,
}
