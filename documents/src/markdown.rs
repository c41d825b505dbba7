//! Markdown.

use pulldown_cmark::{Event, MetadataBlockKind, Options, Parser, Tag, TagEnd};

use crate::builder::{Builder, single_spaced};
use crate::document::Section;
use crate::error::ErrorKind;

/// Title and sections. The first heading of the first level is the title.
pub(crate) fn read(
    text: &str,
    limit: usize,
) -> Result<(Option<String>, Option<Vec<Section>>), ErrorKind> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut builder = Builder::new(limit);
    let mut title = None;
    let mut block = String::new();
    let mut is_metadata = false;
    // Skips the alternative text of pictures.
    let mut pictures = 0_usize;
    for event in Parser::new_ext(text, options) {
        match event {
            Event::Text(text) if is_metadata => {
                let line = text.lines().find_map(|line| line.strip_prefix("title:"));
                title = line.map(|line| single_spaced(line.trim().trim_matches(['"', '\''])));
            }
            Event::Text(text) | Event::Code(text) if pictures == 0 => block.push_str(&text),
            Event::SoftBreak => block.push(' '),
            Event::HardBreak => block.push('\n'),
            Event::InlineHtml(tag) if tag.starts_with("<br") => block.push('\n'),
            Event::Start(Tag::MetadataBlock(MetadataBlockKind::YamlStyle)) => is_metadata = true,
            Event::End(TagEnd::MetadataBlock(_)) => is_metadata = false,
            Event::Start(Tag::Image { .. }) => pictures += 1,
            Event::End(TagEnd::Image) => pictures = pictures.saturating_sub(1),
            Event::End(TagEnd::Heading(level)) => {
                let heading = std::mem::take(&mut block);
                if title.is_none() && level == pulldown_cmark::HeadingLevel::H1 {
                    title = Some(single_spaced(&heading));
                }
                builder.heading(&heading)?;
            }
            Event::End(TagEnd::TableCell) => block.push('\t'),
            // A nested list begins after the text of its item.
            Event::Start(Tag::List(_) | Tag::Paragraph | Tag::CodeBlock(_) | Tag::Item)
            | Event::End(
                TagEnd::Paragraph
                | TagEnd::Item
                | TagEnd::CodeBlock
                | TagEnd::TableHead
                | TagEnd::TableRow,
            ) => builder.paragraph(&std::mem::take(&mut block))?,
            _ => {}
        }
    }
    builder.paragraph(&block)?;
    Ok((title.filter(|title| !title.is_empty()), builder.finish()))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn marks_are_left_out() {
        let text = "# A *title*\n\n\
            Text with [a link](http://x), `code` and ![a picture](y).\nMore\n\n\
            ## Second\n\n- one\n  - two\n- three\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n\
            ```\nx = 1\n```\n<!-- no -->\n";
        let (title, sections) = read(text, 1 << 20).unwrap();
        assert_eq!(title.as_deref(), Some("A title"));
        let sections = sections.unwrap();
        assert_eq!(sections[0].heading.as_deref(), Some("A title"));
        assert_eq!(sections[0].text, "Text with a link, code and . More");
        assert_eq!(sections[1].heading.as_deref(), Some("Second"));
        assert_eq!(sections[1].text, "one\n\ntwo\n\nthree\n\na\tb\n\n1\t2\n\nx = 1");
    }

    #[test]
    fn metadata_has_a_title() {
        let (title, sections) = read("---\ntitle: \"T\"\nx: y\n---\n\nText\n", 100).unwrap();
        assert_eq!(title.as_deref(), Some("T"));
        assert_eq!(sections.unwrap()[0].text, "Text");
    }
}
