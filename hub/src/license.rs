//! The license of a model, by its description on the hub.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Limit of a field's text.
const MAX_FIELD: usize = 300;

/// The license of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct License {
    /// The hub's short name, such as `apache-2.0`; `other` if it has none.
    pub id: String,
    /// The full name, if the hub has no short one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Address of the license's text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub link: Option<String>,
}

impl License {
    /// Reads the license from the hub's description of a model: from `cardData`, or else from a
    /// tag.
    pub fn of(description: &Value) -> Option<Self> {
        let card = &description["cardData"];
        let tags = description["tags"].as_array();
        let tag = || tags?.iter().find_map(|tag| tag.as_str()?.strip_prefix("license:"));
        let id = match &card["license"] {
            Value::String(id) => plain(id),
            Value::Array(several) => {
                let several: Vec<_> = several.iter().filter_map(Value::as_str).collect();
                plain(&several.join(", "))
            }
            _ => tag().and_then(plain),
        };
        let field = |name: &str| card[name].as_str().and_then(plain);
        Some(Self { id: id?, name: field("license_name"), link: field("license_link") })
    }
}

impl std::fmt::Display for License {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name.as_ref().unwrap_or(&self.id))?;
        self.link.iter().try_for_each(|link| write!(f, " ({link})"))
    }
}

/// Shortens a text to one line for a terminal; `None` if it is empty then.
fn plain(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_FIELD).collect();
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_read_from_the_card_and_else_from_a_tag() {
        let of = |value| License::of(&value).map(|license| license.to_string());
        assert_eq!(of(json!({"cardData": {"license": "mit"}, "tags": []})).unwrap(), "mit");
        assert_eq!(of(json!({"tags": ["pytorch", "license:apache-2.0"]})).unwrap(), "apache-2.0");
        let other = json!({"cardData": {
            "license": "other",
            "license_name": "acme\u{1b}[31m",
            "license_link": "https://acme.example/licence",
        }});
        assert_eq!(of(other).unwrap(), "acme[31m (https://acme.example/licence)");
        assert_eq!(
            of(json!({"cardData": {"license": ["mit", "cc0-1.0"]}})).unwrap(),
            "mit, cc0-1.0"
        );
        assert_eq!(of(json!({"cardData": null})), None);
        assert_eq!(of(json!({"cardData": {"license": " \n"}})), None);
    }
}
