//! HTML: the article of a page, or the whole page.

mod blocks;

use dom_query::Document;
use dom_smoothie::Readability;

use crate::builder::{Builder, single_spaced};
use crate::document::{Format, Section};
use crate::encoding;
use crate::error::ErrorKind;

pub(crate) use blocks::blocks;

/// Limit of nested elements.
const MAX_DEPTH: usize = 5000;
/// Smallest article in bytes. Less text is a cookie banner, or the teaser in a list of articles.
const MIN_ARTICLE: usize = 250;
/// Smallest number of words of a paragraph of prose. Menus and captions have fewer.
const MIN_PROSE_WORDS: usize = 25;

/// Title and sections of a page: of its article if there is one, or else of all visible text.
pub(crate) fn read(
    bytes: &[u8],
    limit: usize,
) -> Result<(Option<String>, Option<Vec<Section>>), ErrorKind> {
    let html = text_of(bytes, limit)?;
    let page = parse(&html)?;
    let title = title(&page);
    let mut builder = Builder::new(limit);
    blocks(&page.root(), &mut builder)?;
    let Some(sections) = builder.finish() else { return Ok((title, None)) };
    match article(&html, limit)? {
        Some((article_title, article)) if is_enough(&article, &sections) => {
            Ok((article_title.or(title), Some(article)))
        }
        _ => Ok((title, Some(sections))),
    }
}

/// A title and sections.
type Article = (Option<String>, Vec<Section>);

/// The article of a page, if it has one.
fn article(html: &str, limit: usize) -> Result<Option<Article>, ErrorKind> {
    let article = Readability::new(html, None, None).and_then(|mut page| page.parse());
    let Ok(article) = article else { return Ok(None) };
    let content = Document::fragment(article.content);
    let mut builder = Builder::new(limit);
    blocks(&content.root(), &mut builder)?;
    let title = Some(single_spaced(&article.title)).filter(|title| !title.is_empty());
    Ok(builder.finish().map(|sections| (title, sections)))
}

/// Whether an article has most of the prose of its page. A manual is a page of many parts, and its
/// longest part is not an article.
fn is_enough(article: &[Section], page: &[Section]) -> bool {
    let prose = |sections: &[Section]| -> usize {
        let paragraphs = sections.iter().flat_map(|section| section.text.split("\n\n"));
        let words = paragraphs.map(|paragraph| paragraph.split_whitespace().count());
        words.filter(|words| *words >= MIN_PROSE_WORDS).sum()
    };
    let length: usize = article.iter().map(|section| section.text.len()).sum();
    length >= MIN_ARTICLE && prose(article) * 10 >= prose(page) * 6
}

/// Parses a page.
///
/// A parser searches all open elements at many tags, so that a page with endless nesting would take
/// hours. Browsers stop at a few hundred levels.
pub(crate) fn parse(html: &str) -> Result<Document, ErrorKind> {
    if depth(html) > MAX_DEPTH {
        return Err(ErrorKind::damaged(Format::Html, "its elements nest too deeply"));
    }
    Ok(Document::from(html))
}

/// Deepest nesting of elements, except those that end by themselves.
fn depth(html: &str) -> usize {
    const ENDING: [&str; 27] = [
        "area", "base", "br", "col", "colgroup", "dd", "dt", "embed", "hr", "img", "input", "li",
        "link", "meta", "option", "p", "param", "rp", "rt", "source", "tbody", "td", "th", "thead",
        "tr", "track", "wbr",
    ];
    let (mut depth, mut deepest) = (0_usize, 0);
    for tag in html.split('<').skip(1) {
        let (is_end, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let length = tag.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let name = &tag[..length];
        if name.is_empty() || ENDING.iter().any(|ending| ending.eq_ignore_ascii_case(name)) {
            continue;
        }
        depth = if is_end { depth.saturating_sub(1) } else { depth + 1 };
        deepest = deepest.max(depth);
    }
    deepest
}

/// The text of a title element, or of the first heading.
pub(crate) fn title(page: &Document) -> Option<String> {
    let elements = ["title", "h1"].into_iter().map(|name| page.select_single(name));
    elements.map(|element| single_spaced(&element.text())).find(|title| !title.is_empty())
}

/// The page with an end tag for every self-closing element of XHTML. HTML parsers take such a tag
/// for a start tag.
#[cfg(feature = "epub")]
pub(crate) fn with_end_tags(page: &str) -> String {
    const VOID: [&str; 14] = [
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param",
        "source", "track", "wbr",
    ];
    let mut out = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(end) = rest.find("/>") {
        let (before, after) = rest.split_at(end);
        let tag = before.rfind('<').map(|at| &before[at + 1..]).unwrap_or_default();
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b":-_".contains(byte);
        let name = &tag[..tag.bytes().take_while(|byte| is_name(byte)).count()];
        out.push_str(before);
        if name.is_empty() || tag.contains('>') || VOID.contains(&name) {
            out.push_str("/>");
        } else {
            out.extend(["></", name, ">"]);
        }
        rest = &after[2..];
    }
    out.push_str(rest);
    out
}

/// The text of a page that may declare its encoding.
pub(crate) fn text_of(bytes: &[u8], limit: usize) -> Result<String, ErrorKind> {
    // Allows more bytes than text, because of the tags.
    if bytes.len() > limit.saturating_mul(8) {
        let limit = limit.saturating_mul(8) as u64;
        return Err(ErrorKind::TooLarge { what: "it".into(), limit });
    }
    let declared = declared(&bytes[..bytes.len().min(1024)]);
    encoding::decode_declared(bytes, declared)
        .ok_or_else(|| ErrorKind::NotADocument("binary data".into()))
}

/// The encoding in `<meta charset>` or in the XML declaration.
fn declared(head: &[u8]) -> Option<&[u8]> {
    let lower = head.to_ascii_lowercase();
    let find = |word: &[u8]| {
        let at = lower.windows(word.len()).position(|window| window == word)?;
        Some(at + word.len())
    };
    let at = find(b"charset=").or_else(|| find(b"encoding="))?;
    let value = head[at..].trim_ascii_start();
    let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_:.".contains(byte);
    let end = value.iter().position(|byte| !is_part(byte)).unwrap_or(value.len());
    Some(&value[..end])
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::document::Section;

    fn text(html: &str) -> String {
        let (_, sections) = read(html.as_bytes(), 1 << 20).unwrap();
        let sections = sections.unwrap_or_default();
        let parts = sections.iter().flat_map(|it| it.heading.iter().chain([&it.text]));
        parts.map(String::as_str).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn blocks_are_paragraphs_and_headings_sections() {
        assert_eq!(
            text("<title>T</title><p>One\n two<br>three<p>Four<h2>Head</h2><ul><li>a<li>b</ul>"),
            "One two\nthree\n\nFour|Head|a\n\nb"
        );
    }

    #[test]
    fn what_is_not_shown_is_not_read() {
        assert_eq!(
            text("<p>a<script>x()</script><style>y</style><template>z</template>b</p>"),
            "ab"
        );
        assert_eq!(text("<nav>Home</nav><p>Text</p><p hidden>no</p><footer>(c)</footer>"), "Text");
    }

    #[test]
    fn the_declared_encoding_is_heeded() {
        let mut page = b"<meta charset='koi8-r'><p>".to_vec();
        page.extend_from_slice(&encoding_rs::KOI8_R.encode("мост").0);
        let (_, sections) = read(&page, 1 << 20).unwrap();
        assert_eq!(sections.unwrap()[0].text, "мост");
    }

    #[cfg(feature = "epub")]
    #[test]
    fn xhtml_gets_its_end_tags() {
        assert_eq!(
            super::with_end_tags("<title/><a id='x'/>b<br/>c <p>d/></p>"),
            "<title></title><a id='x'></a>b<br/>c <p>d/></p>"
        );
    }

    #[test]
    fn elements_that_never_end_are_refused() {
        assert_eq!(super::depth("<html><p>a<p>b<br><b>c</b><i><u>d</u></i>"), 3);
        assert!(read("<html><p>a".repeat(6000).as_bytes(), 1 << 20).is_err());
        assert!(read("<html><p><b>a</b>".repeat(4000).as_bytes(), 1 << 20).is_ok());
    }

    #[test]
    fn an_article_has_most_of_the_prose_of_its_page() {
        let section = |text: String| Section { text, ..Section::default() };
        let prose = "word ".repeat(60);
        let page = [section(prose.clone()), section(prose.clone()), section("menu".repeat(900))];
        assert!(super::is_enough(&page[..2], &page));
        assert!(!super::is_enough(&page[..1], &page));
        assert!(!super::is_enough(&[section("short".into())], &page[2..]));
    }

    #[test]
    fn the_article_is_found_among_the_rest() {
        let sentence = "The bridge over the river was opened by the mayor, who spoke of the town. ";
        let article = format!("<p>{}</p>", sentence.repeat(3)).repeat(5);
        let menu = "<li><a href='/x'>A page of the menu</a></li>".repeat(30);
        let html = format!(
            "<html><head><title>Bridge opened</title></head><body><ul class='menu'>{menu}</ul>\
             <article><h1>Bridge opened</h1>{article}</article><div class='sidebar'>{menu}</div>"
        );
        let read = text(&html);
        assert!(read.contains("opened by the mayor"));
        assert!(!read.contains("A page of the menu"), "{read}");
    }
}
