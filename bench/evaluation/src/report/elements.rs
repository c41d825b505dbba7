//! HTML elements of the report pages.

use std::fmt::Write;

use crate::plot::{Figure, escape, render};
use crate::results::Example;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;max-width:1040px;\
margin:2em auto;padding:0 1em;color:#1f2328;background:#fff}\
h1{font-size:1.6em;margin-bottom:.2em}h2{font-size:1.2em;margin-top:2em}\
.note{color:#59636e}.verdict{border-left:4px solid #0072b2;padding:.4em .8em;margin:1em 0}\
.bad{border-color:#d55e00}.warn{border-left:4px solid #e69f00;padding:.4em .8em;margin:1em 0}\
.wide{overflow-x:auto}.panels{display:flex;flex-wrap:wrap}svg{max-width:100%;height:auto}\
code{overflow-wrap:anywhere}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\
th,td{padding:.15em .55em;text-align:right;border-bottom:1px solid #d1d9e0}\
th{text-align:right;vertical-align:bottom}\
tr.picked{font-weight:600}td.mark{text-align:center}.text{text-align:left;vertical-align:top}\
.example{break-inside:avoid;border-top:1px solid #d1d9e0;padding:.6em 0}\
.sides{display:flex;flex-wrap:wrap;gap:0 2em}.sides>div{flex:1 1 14em}\
.sides b{display:block;font-size:13px;color:#59636e}\
@media(max-width:640px){body{margin:1em auto}.wide>svg{max-width:none}}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}\
.note,.sides b{color:#9198a1}th,td,.example{border-color:#3d444d}}\
@media print{body{color:#000;background:#fff;max-width:none;margin:0}\
h2{break-after:avoid}svg,figure,tr{break-inside:avoid}.wide{overflow:visible}\
.wide>svg{max-width:100%}table{font-size:10px}}";

/// A page with a heading; `write` adds the content.
pub(super) fn shell(title: &str, write: impl FnOnce(&mut String)) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{0}</title><style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escape(title)
    );
    write(&mut out);
    out.push_str("</body></html>\n");
    out
}

/// A figure whose panels are stacked on narrow screens.
pub(super) fn panels(figure: Figure) -> String {
    let Figure { description, panels, panel_width, panel_height } = figure;
    let panels = panels.into_iter().map(|panel| {
        let description = format!("{description}: {}", panel.title);
        render(&Figure { description, panels: vec![panel], panel_width, panel_height })
    });
    format!("<div class=\"panels\">{}</div>", panels.collect::<String>())
}

/// A sentence in a box of a CSS class.
pub(super) fn sentence(out: &mut String, class: &str, text: &str) {
    let _ = writeln!(out, "<p class=\"{class}\">{}.</p>", escape(text));
}

/// A document with its reference and summaries side by side.
pub(super) fn sides(out: &mut String, example: &Example, summaries: &[(&str, &str)]) {
    let _ = write!(
        out,
        "<div class=\"example\"><p class=\"note\">Row {}: {}</p><div class=\"sides\">",
        example.row,
        escape(&example.text)
    );
    let reference = example.reference.as_deref().map(|reference| ("reference", reference));
    for (name, text) in reference.into_iter().chain(summaries.iter().copied()) {
        let _ = write!(out, "<div><b>{name}</b>{}</div>", escape(text));
    }
    out.push_str("</div></div>\n");
}
