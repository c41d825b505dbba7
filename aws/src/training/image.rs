//! The images of HuggingFace's training containers.
//!
//! Versions and registries are those of the SageMaker Python SDK's
//! `image_uri_config/huggingface.json`. A test compares the result with that of the SDK.

use crate::error::{Error, Result};
use crate::service::domain;

/// A container: versions of transformers, PyTorch and Python, and the rest of its tag.
type Container = (&'static str, &'static str, &'static str, &'static str);

/// All containers, the oldest first.
#[rustfmt::skip]
const CONTAINERS: [Container; 18] = [
    ("4.4.2",  "1.6.0",  "py36",  ""),
    ("4.5.0",  "1.6.0",  "py36",  ""),
    ("4.6.1",  "1.6.0",  "py36",  "-cu110-ubuntu18.04"),
    ("4.6.1",  "1.7.1",  "py36",  "-cu110-ubuntu18.04"),
    ("4.6.1",  "1.8.1",  "py36",  "-cu111-ubuntu18.04"),
    ("4.10.2", "1.8.1",  "py36",  "-cu110-ubuntu18.04"),
    ("4.10.2", "1.9.0",  "py38",  "-cu111-ubuntu20.04"),
    ("4.11.0", "1.9.0",  "py38",  "-cu111-ubuntu20.04"),
    ("4.12.3", "1.9.1",  "py38",  "-cu111-ubuntu20.04"),
    ("4.17.0", "1.10.2", "py38",  "-cu113-ubuntu20.04"),
    ("4.26.0", "1.13.1", "py39",  "-cu117-ubuntu20.04"),
    ("4.28.1", "2.0.0",  "py310", "-cu118-ubuntu20.04"),
    ("4.36.0", "2.1.0",  "py310", "-cu121-ubuntu20.04"),
    ("4.46.1", "2.3.0",  "py311", "-cu121-ubuntu20.04"),
    ("4.48.0", "2.3.0",  "py311", "-cu121-ubuntu20.04"),
    ("4.49.0", "2.5.1",  "py311", "-cu124-ubuntu22.04"),
    ("4.55.0", "2.7.1",  "py312", "-cu128-ubuntu22.04"),
    ("4.56.2", "2.8.0",  "py312", "-cu129-ubuntu22.04"),
];

/// Accounts of the images in regions that have their own.
const REGISTRIES: [(&str, &str); 19] = [
    ("af-south-1", "626614931356"),
    ("ap-east-1", "871362719292"),
    ("ap-northeast-3", "364406365360"),
    ("ap-south-2", "772153158452"),
    ("ap-southeast-3", "907027046896"),
    ("ap-southeast-4", "457447274322"),
    ("ca-west-1", "204538143572"),
    ("cn-north-1", "727897471807"),
    ("cn-northwest-1", "727897471807"),
    ("eu-central-2", "380420809688"),
    ("eu-south-1", "692866216735"),
    ("eu-south-2", "503227376785"),
    ("il-central-1", "780543022126"),
    ("me-central-1", "914824155844"),
    ("me-south-1", "217643126080"),
    ("us-gov-east-1", "446045086412"),
    ("us-gov-west-1", "442386744353"),
    ("us-iso-east-1", "886529160074"),
    ("us-isob-east-1", "094389454867"),
];
/// Account of the images in all other regions.
const USUAL_REGISTRY: &str = "763104351884";

/// The image of a HuggingFace training container for GPUs.
///
/// # Errors
/// If there is no such container. The error lists the containers.
pub(super) fn training_image(
    region: &str,
    transformers: &str,
    pytorch: Option<&str>,
    python: Option<&str>,
) -> Result<String> {
    let fits = |wanted: Option<&str>, version: &str| {
        wanted.is_none_or(|wanted| {
            version == wanted
                || version.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
        })
    };
    // Takes the newest matching container. A version may be given by its first parts.
    let found = CONTAINERS.iter().rev().find(|container| {
        fits(Some(transformers), container.0)
            && fits(pytorch, container.1)
            && python.is_none_or(|python| python == container.2)
    });
    let Some((transformers, pytorch, python, rest)) = found else {
        let wanted: Vec<String> = [
            Some(format!("transformers {transformers}")),
            pytorch.map(|version| format!("PyTorch {version}")),
            python.map(|version| format!("Python {version}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        return Err(Error::Invalid(format!(
            "there is no HuggingFace container of {}: take the versions of one of these, or give \
             an image\n{}",
            wanted.join(", "),
            table()
        )));
    };
    let registry = REGISTRIES
        .iter()
        .find(|(known, _)| *known == region)
        .map_or(USUAL_REGISTRY, |(_, registry)| registry);
    Ok(format!(
        "{registry}.dkr.ecr.{region}.{}/huggingface-pytorch-training:\
         {pytorch}-transformers{transformers}-gpu-{python}{rest}",
        domain(region)
    ))
}

/// The containers, one per line.
fn table() -> String {
    let row = |(transformers, pytorch, python): (&str, &str, &str)| {
        format!("  {transformers:<12}  {pytorch:<7}  {python}\n")
    };
    let rows = CONTAINERS.iter().map(|container| row((container.0, container.1, container.2)));
    let table: String =
        [row(("transformers", "PyTorch", "Python"))].into_iter().chain(rows).collect();
    table.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn images_and_registries_are_those_of_the_python_sdk() {
        let recorded = include_str!("../../../fixtures/aws/requests.json");
        let recorded: Value = serde_json::from_str(recorded).unwrap();
        let versions = recorded["images"]["versions"].as_array().unwrap();
        assert_eq!(versions.len(), CONTAINERS.len());
        for version in versions {
            let field = |name: &str| version[name].as_str().unwrap();
            let image = training_image(
                "us-east-1",
                field("transformers"),
                Some(field("pytorch")),
                Some(field("python")),
            );
            let (_, image) = image.as_deref().unwrap().split_once('/').unwrap();
            assert_eq!(image, field("image"));
        }
        let registries = recorded["images"]["registries"].as_object().unwrap();
        assert!(registries.len() > 30);
        for (region, host) in registries {
            let image = training_image(region, "4.56.2", None, None).unwrap();
            assert_eq!(image.split_once('/').unwrap().0, host.as_str().unwrap());
        }
    }

    #[test]
    fn versions_may_be_given_by_their_first_parts() {
        let image = training_image("eu-west-1", "4.6", None, None).unwrap();
        assert!(image.contains(":1.8.1-transformers4.6.1-"), "{image}");
        let image = training_image("eu-west-1", "4.6", Some("1.7"), Some("py36")).unwrap();
        assert!(image.contains(":1.7.1-transformers4.6.1-"), "{image}");
        for (transformers, pytorch) in [("4.5", Some("2.0")), ("5.0", None), ("4", Some("9"))] {
            let error = training_image("eu-west-1", transformers, pytorch, None).unwrap_err();
            assert!(error.to_string().contains("\n  4.56.2        2.8.0    py312"), "{error}");
        }
    }
}
