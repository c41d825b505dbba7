//! E-mail: the body of a message.

use mail_parser::{MessageParser, MimeHeaders, PartType};

use crate::builder::Builder;
use crate::document::{Format, Section};
use crate::encoding;
use crate::error::ErrorKind;
use crate::html;

/// Title and sections. The title is the subject.
pub(crate) fn read(
    bytes: &[u8],
    limit: usize,
) -> Result<(Option<String>, Option<Vec<Section>>), ErrorKind> {
    let bytes = without_mailbox_line(bytes);
    let message = MessageParser::default().parse(bytes);
    let message = message.ok_or_else(|| ErrorKind::damaged(Format::Email, "it has no header"))?;
    let is = |kind: &str, subtypes: &[&str]| {
        message.content_type().is_some_and(|it| {
            it.ctype().eq_ignore_ascii_case(kind)
                && subtypes
                    .iter()
                    .any(|of| it.subtype().is_some_and(|it| it.eq_ignore_ascii_case(of)))
        })
    };
    let is_signed = message.content_type().and_then(|it| it.attribute("smime-type"));
    let is_enveloped = is("application", &["pkcs7-mime", "x-pkcs7-mime"])
        && is_signed.is_none_or(|kind| kind != "signed-data");
    if is("multipart", &["encrypted"]) || is_enveloped {
        return Err(ErrorKind::Encrypted);
    }
    let mut builder = Builder::new(limit);
    // A body exists as text, as HTML or as both. The text is simpler to read.
    for part in message.text_bodies() {
        match &part.body {
            PartType::Text(text) => {
                let text = encoding::decode(text.as_bytes()).unwrap_or_default();
                builder.paragraph(without_signature(&text))?;
            }
            PartType::Html(page) => html::blocks(&html::parse(page)?.root(), &mut builder)?,
            _ => {}
        }
    }
    let title = message.subject().map(crate::builder::single_spaced);
    Ok((title.filter(|title| !title.is_empty()), builder.finish()))
}

/// Skips the first line of a mailbox, which is not part of the message.
fn without_mailbox_line(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if bytes.starts_with(b"From ") { &bytes[end..] } else { bytes }
}

/// The text before the signature: a line of two hyphens and a space.
fn without_signature(text: &str) -> &str {
    text.rfind("\n-- \n").map_or(text, |at| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::error::ErrorKind;

    fn text(mail: &str) -> String {
        let (_, sections) = read(mail.as_bytes(), 1 << 20).unwrap();
        sections.map_or(String::new(), |it| it[0].text.clone())
    }

    #[test]
    fn the_text_is_preferred() {
        let mail = "From: a@b\r\nSubject: =?utf-8?q?Br=C3=BCcke?=\r\nMIME-Version: 1.0\r\n\
            Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\n\
            Content-Type: text/plain; charset=iso-8859-1\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\r\nDie Br=FCcke=\r\n steht.\r\n\
            --=20\r\nMe\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>no</p>\r\n--x--\r\n";
        assert_eq!(text(mail), "Die Brücke steht.");
        assert_eq!(read(mail.as_bytes(), 100).unwrap().0.as_deref(), Some("Brücke"));
        let html = "From: a@b\nContent-Type: text/html\n\n<p>One<p>Two";
        assert_eq!(text(html), "One\n\nTwo");
    }

    #[test]
    fn encrypted_mail_is_told() {
        let mail = "From: a@b\nContent-Type: multipart/encrypted; boundary=x\n\n--x\n\nx\n--x--\n";
        assert_eq!(read(mail.as_bytes(), 100), Err(ErrorKind::Encrypted));
    }
}
