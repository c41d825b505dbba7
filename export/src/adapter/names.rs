//! The names of an adapter's tensors.

/// Role of a tensor for its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    LoraA,
    LoraB,
    LoraBias,
    EmbeddingA,
    EmbeddingB,
    Magnitude,
    Ia3,
    Tokens,
    /// A tensor of the base, trained or saved whole (`modules_to_save`, `bias`).
    Whole,
    /// An unchanged copy of the base's tensor, unless tokens were added to the table.
    Copy,
    /// A tensor that only training needs.
    Unused,
}

/// Splits a tensor name into the module (or the tensor's name, if it is whole) and its role.
///
/// PEFT leaves out the adapter's name (`lora_A.default.weight`), which other tools keep.
pub(super) fn parse(name: &str) -> Option<(String, Part)> {
    let mut rest = name;
    for prefix in ["_orig_mod.", "module.", "base_model.model."] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    let segments: Vec<&str> = rest.split('.').collect();
    let marker = segments.iter().position(|segment| is_marker(segment));
    let Some(at) = marker else {
        return Some((whole(&segments), Part::Whole));
    };
    let last = *segments.last()?;
    let part = match (segments[at], last) {
        ("lora_A", "weight") => Part::LoraA,
        ("lora_B", "weight") => Part::LoraB,
        ("lora_B", "bias") => Part::LoraBias,
        ("lora_embedding_A", _) => Part::EmbeddingA,
        ("lora_embedding_B", _) => Part::EmbeddingB,
        ("lora_magnitude_vector", _) => Part::Magnitude,
        ("ia3_l", _) => Part::Ia3,
        ("token_adapter" | "trainable_tokens_delta", _)
            if segments.contains(&"trainable_tokens_delta") =>
        {
            Part::Tokens
        }
        ("token_adapter" | "original_module", "weight") => Part::Copy,
        ("token_adapter" | "original_module", _) => Part::Unused,
        _ => return None,
    };
    Some((segments[..at].join("."), part))
}

fn is_marker(segment: &str) -> bool {
    const OTHERS: [&str; 3] = ["token_adapter", "trainable_tokens_delta", "original_module"];
    segment.starts_with("lora_") || segment.starts_with("ia3_") || OTHERS.contains(&segment)
}

/// The base's name of a tensor that PEFT wrapped.
fn whole(segments: &[&str]) -> String {
    let mut kept = Vec::new();
    let mut segments = segments.iter().copied().peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "base_layer" => {}
            "modules_to_save" => {
                // Skips the adapter's name in `modules_to_save.default.weight`.
                if let Some(&next) = segments.peek()
                    && next != "weight"
                    && next != "bias"
                {
                    segments.next();
                }
            }
            _ => kept.push(segment),
        }
    }
    kept.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let q = "model.encoder.layers.0.self_attn.q_proj";
        let shared = "model.shared";
        for (name, module, part) in [
            (format!("base_model.model.{q}.lora_A.weight"), q, Part::LoraA),
            (format!("base_model.model.{q}.lora_B.default.weight"), q, Part::LoraB),
            (format!("module.base_model.model.{q}.lora_B.bias"), q, Part::LoraBias),
            (format!("base_model.model.{q}.lora_magnitude_vector"), q, Part::Magnitude),
            (format!("{q}.lora_magnitude_vector.weight"), q, Part::Magnitude),
            (format!("base_model.model.{q}.ia3_l"), q, Part::Ia3),
            (format!("{shared}.lora_embedding_A"), shared, Part::EmbeddingA),
            (format!("{shared}.token_adapter.trainable_tokens_delta"), shared, Part::Tokens),
            (format!("{shared}.trainable_tokens_delta"), shared, Part::Tokens),
            (format!("{shared}.original_module.weight"), shared, Part::Copy),
            (format!("{shared}.token_adapter.base_layer.weight"), shared, Part::Copy),
            (format!("{shared}.token_adapter.trainable_tokens_original"), shared, Part::Unused),
        ] {
            assert_eq!(parse(&name), Some((module.to_owned(), part)), "{name}");
        }
        for name in ["base_layer", "modules_to_save", "modules_to_save.default"] {
            let name = format!("base_model.model.lm_head.{name}.weight");
            assert_eq!(parse(&name), Some(("lm_head.weight".to_owned(), Part::Whole)));
        }
        assert_eq!(parse("q.lora_E"), None);
        assert_eq!(parse("q.lora_A"), None);
    }
}
