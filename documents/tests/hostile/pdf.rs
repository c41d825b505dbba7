//! Hostile PDF files.

use epitome_documents::ErrorKind;

use super::{assert_refused, deflated, read, text};

/// A file of these objects. The first one is the catalog.
fn pdf(objects: &[&[u8]]) -> Vec<u8> {
    let mut file = b"%PDF-1.7\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in (1..).zip(objects) {
        places.push(file.len());
        file.extend_from_slice(format!("{number} 0 obj\n").as_bytes());
        file.extend_from_slice(object);
        file.extend_from_slice(b"\nendobj\n");
    }
    let start = file.len();
    file.extend_from_slice(format!("xref\n0 {}\n", objects.len() + 1).as_bytes());
    file.extend_from_slice(b"0000000000 65535 f \n");
    for place in places {
        file.extend_from_slice(format!("{place:010} 00000 n \n").as_bytes());
    }
    let size = objects.len() + 1;
    let trailer = format!("trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n");
    file.extend_from_slice(trailer.as_bytes());
    file
}

fn stream(dict: &str, data: &[u8]) -> Vec<u8> {
    let mut object = format!("<<{dict}/Length {}>>\nstream\n", data.len()).into_bytes();
    object.extend_from_slice(data);
    object.extend_from_slice(b"\nendstream");
    object
}

const CATALOG: &[u8] = b"<</Type/Catalog/Pages 2 0 R>>";
const PAGES: &[u8] = b"<</Type/Pages/Kids[3 0 R]/Count 1>>";
const PAGE: &[u8] = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R\
    /Resources<</Font<</F 5 0 R>>/XObject<</X 6 0 R/Y 7 0 R>>>>>>";
const FONT: &[u8] = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>";
const HELLO: &[u8] = b"BT /F 12 Tf 72 700 Td (Hello there) Tj ET";

/// A file with one page of this content.
fn page(content: &[u8]) -> Vec<u8> {
    pdf(&[CATALOG, PAGES, PAGE, &stream("", content), FONT])
}

#[test]
fn good() {
    assert_eq!(text("good.pdf", &page(HELLO)), "Hello there");
}

#[test]
fn page_tree_with_a_cycle() {
    let pages = b"<</Type/Pages/Kids[3 0 R 2 0 R]/Count 2>>";
    let file = pdf(&[CATALOG, pages, PAGE, &stream("", HELLO), FONT]);
    assert_eq!(text("cycle.pdf", &file), "Hello there");
    let only = pdf(&[CATALOG, b"<</Type/Pages/Kids[2 0 R]/Count 1>>"]);
    assert_refused("only-cycle.pdf", &only);
}

#[test]
fn objects_that_nest_deeply() {
    for (open, close) in [("[", "]"), ("<</A", ">>")] {
        let deep = open.repeat(100_000) + &close.repeat(100_000);
        let file = pdf(&[CATALOG, PAGES, PAGE, &stream("", HELLO), FONT, deep.as_bytes()]);
        assert_eq!(text("deep.pdf", &file), "Hello there");
        let content = [HELLO, deep.as_bytes(), b" Tj"].concat();
        assert_eq!(text("deep-content.pdf", &page(&content)), "Hello there");
        let root = pdf(&[deep.as_bytes()]);
        assert_refused("deep-root.pdf", &root);
    }
}

#[test]
fn flate_bomb() {
    let bomb = stream("/Filter/FlateDecode", &deflated(b' ', 4096, true));
    let file = pdf(&[CATALOG, PAGES, PAGE, &bomb, FONT]);
    assert!(file.len() < 32 << 20);
    assert_refused("bomb.pdf", &file);
    // A bomb within a bomb.
    let inner = deflated(0, 1024, true);
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut out, &inner).unwrap();
    let twice = stream("/Filter[/FlateDecode/FlateDecode]", &out.finish().unwrap());
    assert_refused("twice.pdf", &pdf(&[CATALOG, PAGES, PAGE, &twice, FONT]));
}

#[test]
fn form_that_draws_itself() {
    let form = stream("/Type/XObject/Subtype/Form/BBox[0 0 9 9]", &[HELLO, b" /X Do"].concat());
    let content = stream("", b"/X Do");
    let file = pdf(&[CATALOG, PAGES, PAGE, &content, FONT, &form, b"null"]);
    assert_eq!(text("itself.pdf", &file), "Hello there");
    // Two forms draw each other twice, so the number doubles each time.
    let form = |other| {
        let content = [HELLO, format!(" /{other} Do /{other} Do").as_bytes()].concat();
        stream("/Type/XObject/Subtype/Form/BBox[0 0 9 9]", &content)
    };
    let file = pdf(&[CATALOG, PAGES, PAGE, &content, FONT, &form("Y"), &form("X")]);
    assert!(read("each-other.pdf", &file).is_ok());
}

/// A chain of forms. Each form draws the next one many times.
#[test]
fn forms_that_multiply() {
    let mut objects: Vec<Vec<u8>> = vec![
        CATALOG.to_vec(),
        PAGES.to_vec(),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R\
            /Resources<</XObject<</N 5 0 R>>>>>>"
            .to_vec(),
        stream("", b"/N Do"),
    ];
    for next in 6..20 {
        let dict = format!(
            "/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</N {next} 0 R>>>>"
        );
        objects.push(stream(&dict, &b"/N Do ".repeat(20)));
    }
    let objects: Vec<&[u8]> = objects.iter().map(Vec::as_slice).collect();
    assert_refused("multiply.pdf", &pdf(&objects));
}

#[test]
fn type_3_font_without_widths() {
    let font = b"<</Type/Font/Subtype/Type3/FontBBox[0 0 1 1]/FontMatrix[0 0 0 0 0 0]\
        /Encoding<</Differences[72/H 101/e]>>/CharProcs<<>>>>";
    let file = pdf(&[CATALOG, PAGES, PAGE, &stream("", HELLO), font]);
    let _ = read("type3.pdf", &file);
}

#[test]
fn three_million_saved_states() {
    let content = [&b"q ".repeat(3_000_000)[..], HELLO].concat();
    assert_eq!(text("states.pdf", &page(&content)), "Hello there");
}

#[test]
fn truncated() {
    let file = page(HELLO);
    for end in [9, 50, 200, 300, file.len() - 100, file.len() - 20] {
        let _ = read("truncated.pdf", &file[..end]);
    }
    assert_refused("start.pdf", &file[..100]);
}

#[test]
fn odd_inline_images() {
    for image in ["BI /W 9 /H 9 ID x", "BI ID EI", "BI /W -1 /H 99999999 /BPC 8 ID xx EI"] {
        let content = [HELLO, b" ", image.as_bytes(), b" EI BT /F 12 Tf 72 600 Td (After) Tj ET"];
        let text = text("image.pdf", &page(&content.concat()));
        assert!(text.starts_with("Hello there"), "{text}");
    }
}

#[test]
fn numbers_beyond_reason() {
    for content in [
        "BT /F 1e38 Tf 1e38 1e38 Td (Hello) Tj [(a) -1e38 (b)] TJ ET",
        "1e30 0 0 1e30 0 0 cm 1e30 0 0 1e30 0 0 cm BT /F 12 Tf (Hello) Tj ET",
        "BT /F 0 Tf 0 Tz (Hello) Tj 99999999999999999999999 TL T* (x) ' ET",
        "BT /F -12 Tf -100 Tz (Hello) Tj ET",
    ] {
        let _ = read("numbers.pdf", &page(content.as_bytes()));
    }
}

#[test]
fn a_font_with_a_map_of_everything() {
    let range = "<0000> <ffff> <0000>\n".repeat(100_000);
    let map = format!(
        "begincodespacerange <0000> <ffff> endcodespacerange\n\
         100000 beginbfrange\n{range}endbfrange\n"
    );
    let map = stream("", map.as_bytes());
    let font = b"<</Type/Font/Subtype/Type0/Encoding/Identity-H/ToUnicode 6 0 R/DescendantFonts[\
        <</Type/Font/Subtype/CIDFontType2/W[0 99999999 500 0 4000000000 1]>>]>>";
    let file = pdf(&[CATALOG, PAGES, PAGE, &stream("", HELLO), font, &map]);
    let _ = read("map.pdf", &file);
    // A map that is based on itself.
    let own = stream("/UseCMap 6 0 R", b"/X usecmap");
    let file = pdf(&[CATALOG, PAGES, PAGE, &stream("", HELLO), font, &own]);
    let _ = read("own-map.pdf", &file);
}

#[test]
fn tables_of_objects_that_lead_to_each_other() {
    let mut file = page(HELLO);
    let start = file.windows(4).position(|it| it == b"xref").unwrap();
    let text = String::from_utf8(file.clone()).unwrap();
    let with = format!("/Root 1 0 R/Prev {start}>>");
    file = text.replace("/Root 1 0 R>>", &with).into_bytes();
    let _ = read("prev.pdf", &file);
    // A stream whose length is itself, and objects in a stream that contains itself.
    let own = b"<</Length 4 0 R>>\nstream\nx\nendstream";
    let _ = read("length.pdf", &pdf(&[CATALOG, PAGES, PAGE, own, FONT]));
    let objects = stream("/Type/ObjStm/N 1/First 4", b"4 0 <<>>");
    let _ = read("objects.pdf", &pdf(&[CATALOG, PAGES, PAGE, &objects, FONT]));
}

#[test]
fn pictures_alone_are_scanned() {
    let picture = stream("/Type/XObject/Subtype/Image/Width 1/Height 1/BitsPerComponent 8", b"x");
    let content = stream("", b"q 500 0 0 700 0 0 cm /X Do Q");
    let file = pdf(&[CATALOG, PAGES, PAGE, &content, FONT, &picture]);
    assert_eq!(read("scan.pdf", &file), Err(ErrorKind::Scanned));
}
