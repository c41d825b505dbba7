//! Removing what was deployed, and what an update left behind.

use serde_json::{Value, json};

use super::endpoint::{self, settle};
use super::spec::{DIGITS, Plan, is_name};
use crate::aws::autoscaling;
use crate::aws::{AwsError, Client, Service, Watch};

/// What deploying an endpoint has left in AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The endpoint, if it is there.
    pub endpoint: Option<String>,
    /// Whether its number of instances follows its load.
    pub scaled: bool,
    /// Configurations, the endpoint's own and earlier ones.
    pub configs: Vec<String>,
    /// Models, likewise.
    pub models: Vec<String>,
}

impl Removal {
    /// Looks for what deploying the endpoint `name` has made. Nothing that was made otherwise is among it.
    ///
    /// # Errors
    /// Where AWS cannot be asked, or the endpoint was not deployed from here.
    pub fn find(client: &Client, name: &str) -> Result<Self, AwsError> {
        if !is_name(name) {
            return Err(AwsError::Invalid(format!(
                "'{name}' cannot name an endpoint"
            )));
        }
        let found = endpoint::describe(client, name)?;
        if let Some(endpoint) = &found
            && !is_ours(name, &endpoint.config)
        {
            return Err(AwsError::Failed(format!(
                "endpoint {name} was not deployed by this command (its configuration is {}): remove it with what made it",
                endpoint.config
            )));
        }
        Ok(Self {
            scaled: found.is_some() && autoscaling::is_registered(client, name)?,
            endpoint: found.map(|_| name.to_owned()),
            configs: list(client, name, &CONFIGS)?,
            models: list(client, name, &MODELS)?,
        })
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.endpoint.is_none() && self.configs.is_empty() && self.models.is_empty()
    }

    /// Each thing that would go, in words.
    pub fn list(&self) -> Vec<String> {
        let scaling = self.scaled.then(|| "its autoscaling".to_owned());
        let endpoint = self.endpoint.iter().map(|name| format!("endpoint {name}"));
        let configs = self
            .configs
            .iter()
            .map(|name| format!("configuration {name}"));
        let models = self.models.iter().map(|name| format!("model {name}"));
        endpoint
            .chain(scaling)
            .chain(configs)
            .chain(models)
            .collect()
    }
}

/// Removes it, the endpoint first. What is gone already is no error.
///
/// # Errors
/// What AWS says against it; calling again goes on.
pub fn remove(client: &Client, removal: &Removal, watch: &dyn Watch) -> Result<(), AwsError> {
    if let Some(name) = &removal.endpoint {
        if removal.scaled {
            watch.note("removing its autoscaling");
            gone(autoscaling::disable(client, name))?;
        }
        watch.note(&format!("removing endpoint {name}"));
        gone(endpoint::delete(client, name))?;
        settle(client, name, watch)?;
    }
    for name in &removal.configs {
        delete(client, &CONFIGS, name, watch)?;
    }
    for name in &removal.models {
        delete(client, &MODELS, name, watch)?;
    }
    Ok(())
}

/// Removes models and configurations of earlier deployments.
pub(super) fn remove_superseded(
    client: &Client,
    endpoint: &str,
    plan: &Plan,
    watch: &dyn Watch,
) -> Result<(), AwsError> {
    for (kind, current) in [(&CONFIGS, &plan.config_name), (&MODELS, &plan.model_name)] {
        for name in list(client, endpoint, kind)? {
            if name != *current {
                delete(client, kind, &name, watch)?;
            }
        }
    }
    Ok(())
}

/// A kind of thing, and SageMaker's words for it.
struct Kind {
    word: &'static str,
    list: &'static str,
    items: &'static str,
    delete: &'static str,
    name: &'static str,
}

const CONFIGS: Kind = Kind {
    word: "configuration",
    list: "ListEndpointConfigs",
    items: "EndpointConfigs",
    delete: "DeleteEndpointConfig",
    name: "EndpointConfigName",
};
const MODELS: Kind = Kind {
    word: "model",
    list: "ListModels",
    items: "Models",
    delete: "DeleteModel",
    name: "ModelName",
};

/// Those of a kind whose names say that deploying the endpoint made them.
fn list(client: &Client, endpoint: &str, kind: &Kind) -> Result<Vec<String>, AwsError> {
    let mut names = Vec::new();
    let mut token = None::<String>;
    loop {
        let mut body = json!({"NameContains": format!("{endpoint}-"), "MaxResults": 100});
        if let Some(token) = &token {
            body["NextToken"] = token.as_str().into();
        }
        let answer = client.call(Service::SageMaker, kind.list, &body)?;
        let items = answer[kind.items].as_array().into_iter().flatten();
        let found = items.filter_map(|item| item[kind.name].as_str());
        names.extend(
            found
                .filter(|name| is_ours(endpoint, name))
                .map(str::to_owned),
        );
        match answer["NextToken"].as_str() {
            Some(next) if !next.is_empty() => token = Some(next.to_owned()),
            _ => break,
        }
    }
    names.sort();
    Ok(names)
}

fn delete(client: &Client, kind: &Kind, name: &str, watch: &dyn Watch) -> Result<(), AwsError> {
    watch.note(&format!("removing {} {name}", kind.word));
    let mut body = json!({});
    body[kind.name] = name.into();
    gone(
        client
            .call(Service::SageMaker, kind.delete, &body)
            .map(|_: Value| ()),
    )
}

fn gone(result: Result<(), AwsError>) -> Result<(), AwsError> {
    result.or_else(|error| {
        if error.is_missing() {
            Ok(())
        } else {
            Err(error)
        }
    })
}

/// Whether a model's or configuration's name is the endpoint's and a digest.
fn is_ours(endpoint: &str, name: &str) -> bool {
    let digest = name
        .strip_prefix(endpoint)
        .and_then(|rest| rest.strip_prefix('-'));
    digest.is_some_and(|digest| {
        digest.len() == DIGITS
            && digest
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_names_with_a_digest_are_ours() {
        assert!(is_ours("news", "news-0123abcd"));
        for name in [
            "news",
            "news-0123abc",
            "news-0123abcde",
            "news-0123ABCD",
            "news-uk-0123abcd",
            "old-news-0123abcd",
        ] {
            assert!(!is_ours("news", name), "{name}");
        }
    }
}
