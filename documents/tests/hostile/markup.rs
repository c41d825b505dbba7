//! Hostile HTML, RTF, e-mail, Markdown, tables and JSON.

use epitome_documents::ErrorKind;

use super::{assert_refused, read, text};

#[test]
fn tags_that_nest_deeply() {
    for tag in ["div", "p", "b", "a", "table", "table><tr><td", "ul><li", "svg", "select", "font"] {
        let html = format!("<html>{}Hello", format!("<{tag}>").repeat(1_000_000));
        match read("deep.html", html.as_bytes()) {
            Ok(documents) => assert!(documents[0].text().contains("Hello"), "{tag}"),
            Err(ErrorKind::Crashed(why)) if !why.contains("nest") => panic!("{tag}: {why}"),
            Err(_) => {}
        }
    }
}

#[test]
fn tags_without_end() {
    for part in
        ["<p a", "<!--", "<script>", "<title>", "<![CDATA[", "<p a='", "</", "&lt", "<p x=y "]
    {
        let html = format!("<html><p>Hello</p>{}", part.repeat(300_000));
        let kind = read("open.html", html.as_bytes()).map(drop);
        assert!(!matches!(kind, Err(ErrorKind::Crashed(_))), "{part}: {kind:?}");
    }
    let html =
        format!("<html><p {}>Hello", (0..200_000).map(|at| format!("a{at} ")).collect::<String>());
    assert!(!matches!(read("attributes.html", html.as_bytes()), Err(ErrorKind::Crashed(_))));
}

#[test]
fn formatting_that_is_opened_again_and_again() {
    // Each paragraph reopens all elements that were left open.
    let html =
        format!("<html>{}Hello", (0..2000).map(|at| format!("<p><b x={at}>")).collect::<String>());
    let kind = read("again.html", html.as_bytes()).map(drop);
    assert!(!matches!(kind, Err(ErrorKind::Crashed(_))), "{kind:?}");
}

#[test]
fn truncated_and_empty_pages() {
    assert_eq!(text("cut.html", b"<html><body><p>Hel"), "Hel");
    assert_refused("empty.html", b"<html><body><script>x</script></body></html>");
    assert_eq!(read("empty.txt", b" \n"), Err(ErrorKind::Empty));
    assert_eq!(read("nothing.txt", b""), Err(ErrorKind::Empty));
    assert!(matches!(read("a.bin", &[0, 1, 2, 3, 255, 254]), Err(ErrorKind::NotADocument(_))));
}

#[test]
fn rtf_that_nests_lies_and_stops() {
    assert_refused("deep.rtf", &[&b"{\\rtf1 "[..], &b"{".repeat(3_000_000)].concat());
    assert_refused("cut.rtf", b"{\\rtf1 Hello");
    assert_refused("bin.rtf", b"{\\rtf1 \\bin2000000000 Hello}");
    assert_eq!(
        text("odd.rtf", b"{\\rtf1 Hello\\u-99999999999 \\'zz\\f9999999999\\uc-5 }"),
        "Hello"
    );
}

#[test]
fn mail_in_mail() {
    let mut mail = String::new();
    for at in 0..20_000 {
        mail.push_str(&format!(
            "From: a@b\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b{at}\n\n\
             --b{at}\n"
        ));
    }
    mail.push_str("\nHello\n");
    let kind = read("deep.eml", mail.as_bytes()).map(drop);
    assert!(!matches!(kind, Err(ErrorKind::Crashed(_))), "{kind:?}");
    let nested = "From: a@b\nMIME-Version: 1.0\nContent-Type: message/rfc822\n\n".repeat(20_000);
    let kind = read("nested.eml", nested.as_bytes()).map(drop);
    assert!(!matches!(kind, Err(ErrorKind::Crashed(_))), "{kind:?}");
}

#[test]
fn markdown_that_nests_deeply() {
    for part in ["> ", "- ", "[", "![", "**", "`", "<", "[a](", "| a ", "1. ", "*a_ "] {
        let text = format!("# A\n\n# B\n\n{}Hello\n", part.repeat(100_000));
        let kind = read("deep.md", text.as_bytes()).map(drop);
        assert!(!matches!(kind, Err(ErrorKind::Crashed(_))), "{part}: {kind:?}");
    }
}

#[test]
fn tables_and_json_that_are_damaged() {
    let kind = read("open.csv", format!("id,text\n1,\"{}", "a,\n".repeat(100_000)).as_bytes());
    assert!(kind.is_ok(), "{kind:?}");
    let deep = format!("{{\"text\": \"a\"}}\n{{\"text\": {}", "[".repeat(500_000));
    assert_refused("deep.jsonl", deep.as_bytes());
    assert_refused("cut.jsonl", b"{\"text\": \"a\"}\n{\"text\": \"b");
    // Millions of rows with almost no text.
    let rows = "text\n".to_owned() + &"a\n".repeat(3_000_000);
    assert_refused("rows.csv", rows.as_bytes());
    let fields: String = (0..100_000).map(|at| format!("\"a{at}\": 1, ")).collect();
    assert_eq!(
        text("fields.jsonl", format!("{{{fields}\"text\": \"Hello\"}}\n").as_bytes()),
        "Hello"
    );
}

#[test]
fn text_beyond_the_limit() {
    let long = "word ".repeat(4 << 20);
    assert!(matches!(read("long.txt", long.as_bytes()), Err(ErrorKind::TooLarge { .. })));
}
