//! Plain text.

use crate::builder::Builder;
use crate::document::Section;
use crate::error::ErrorKind;

/// Form feeds separate pages, as in the output of `pdftotext` and in RFCs. The text is otherwise
/// unchanged.
pub(crate) fn read(text: &str, limit: usize) -> Result<Option<Vec<Section>>, ErrorKind> {
    let mut builder = Builder::new(limit);
    let has_pages = text.trim_end().contains('\u{c}');
    for (number, page) in (1..).zip(text.split('\u{c}')) {
        if has_pages {
            builder.page(number);
        }
        builder.paragraph(page)?;
    }
    Ok(builder.finish())
}
