//! umT5 (Chung et al. 2023, "UniMax: Fairer and more Effective Language Sampling for Large-Scale
//! Multilingual Pretraining").
//!
//! Agrees with `transformers/models/umt5/modeling_umt5.py`: mT5 with a relative bias in every
//! layer. In transformers 4, and here, `tie_word_embeddings: false` means that the last hidden
//! states are not scaled. Only transformers 4 writes it; transformers 5 overrides it and always
//! scales.

use super::blocks::relative_bias::BiasLayers;
use super::family::Family;
use super::mt5::MT5;
use super::t5;

pub(super) static UMT5: Family = Family {
    model_type: "umt5",
    title: "umT5",
    read: |family, config| {
        let scaled_output = config.flag("tie_word_embeddings", true)?;
        t5::read(family, config, BiasLayers::Every, scaled_output)
    },
    ..MT5
};
