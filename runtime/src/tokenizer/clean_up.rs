//! `clean_up_tokenization` of transformers' tokenizers.

/// Texts and their replacements, in order.
pub const CLEAN_UP_TOKENIZATION: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];
