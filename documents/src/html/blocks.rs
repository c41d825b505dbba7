//! Converts the tree of a page to paragraphs and headings.

use dom_query::NodeRef;

use crate::builder::Builder;
use crate::error::ErrorKind;

/// Adds the text below `root` to the sections.
///
/// The walk uses no stack, so that a page may nest deeply.
pub(crate) fn blocks(root: &NodeRef<'_>, builder: &mut Builder) -> Result<(), ErrorKind> {
    let mut text = Text::default();
    let mut node = root.first_child();
    while let Some(current) = node {
        let name = current.node_name();
        let name = name.as_deref().unwrap_or_default();
        let is_shown = !is_hidden(&current, name);
        if current.is_text() {
            text.push(&current.text());
        } else if is_shown {
            enter(name, &mut text, builder)?;
        }
        let child = is_shown.then(|| current.first_child()).flatten();
        node = match child {
            Some(child) => Some(child),
            None => next(current, root, &mut text, builder)?,
        };
    }
    builder.paragraph(&text.take())
}

/// The node after `node` in document order. Ends elements on the way.
fn next<'a>(
    mut node: NodeRef<'a>,
    root: &NodeRef<'a>,
    text: &mut Text,
    builder: &mut Builder,
) -> Result<Option<NodeRef<'a>>, ErrorKind> {
    loop {
        if let Some(name) = node.node_name() {
            leave(&name, text, builder)?;
        }
        if let Some(sibling) = node.next_sibling() {
            return Ok(Some(sibling));
        }
        match node.parent() {
            Some(parent) if parent.id != root.id => node = parent,
            _ => return Ok(None),
        }
    }
}

fn enter(name: &str, text: &mut Text, builder: &mut Builder) -> Result<(), ErrorKind> {
    match name {
        "br" => text.line(),
        "pre" | "textarea" => {
            builder.paragraph(&text.take())?;
            text.keeps_space = true;
        }
        _ if is_block(name) => builder.paragraph(&text.take())?,
        _ => {}
    }
    Ok(())
}

fn leave(name: &str, text: &mut Text, builder: &mut Builder) -> Result<(), ErrorKind> {
    match name {
        "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => builder.heading(&text.take()),
        "td" | "th" => {
            text.cell();
            Ok(())
        }
        "pre" => {
            let block = text.take();
            text.keeps_space = false;
            builder.paragraph(&block)
        }
        _ if is_block(name) => builder.paragraph(&text.take()),
        _ => Ok(()),
    }
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "body"
            | "caption"
            | "center"
            | "dd"
            | "details"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "header"
            | "hgroup"
            | "hr"
            | "html"
            | "legend"
            | "li"
            | "main"
            | "menu"
            | "nav"
            | "ol"
            | "p"
            | "pre"
            | "section"
            | "summary"
            | "table"
            | "tbody"
            | "tfoot"
            | "thead"
            | "tr"
            | "ul"
    )
}

/// Whether an element is not shown, or is not part of the page's text.
fn is_hidden(node: &NodeRef<'_>, name: &str) -> bool {
    let is_other = matches!(
        name,
        "audio"
            | "button"
            | "canvas"
            | "datalist"
            | "embed"
            | "footer"
            | "head"
            | "iframe"
            | "input"
            | "map"
            | "math"
            | "nav"
            | "noscript"
            | "object"
            | "option"
            | "rp"
            | "rt"
            | "script"
            | "select"
            | "style"
            | "svg"
            | "template"
            | "textarea"
            | "title"
            | "video"
    );
    is_other || (node.is_element() && node.has_attr("hidden"))
}

/// Text of an unfinished paragraph.
#[derive(Default)]
struct Text {
    text: String,
    keeps_space: bool,
    /// White space that is only written if more text follows.
    space: Option<&'static str>,
}

impl Text {
    fn push(&mut self, text: &str) {
        if self.keeps_space {
            self.text.push_str(text);
            return;
        }
        for piece in text.split_inclusive(char::is_whitespace) {
            let word = piece.trim_end_matches(char::is_whitespace);
            if !word.is_empty() {
                self.flush_space();
                self.text.push_str(word);
            }
            if word.len() < piece.len() {
                self.space.get_or_insert(" ");
            }
        }
    }

    fn line(&mut self) {
        self.space = Some("\n");
    }

    fn cell(&mut self) {
        self.space = Some("\t");
    }

    fn flush_space(&mut self) {
        if let Some(space) = self.space.take().filter(|_| !self.text.is_empty()) {
            self.text.push_str(space);
        }
    }

    fn take(&mut self) -> String {
        self.space = None;
        std::mem::take(&mut self.text)
    }
}
