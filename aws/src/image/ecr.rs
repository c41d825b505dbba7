//! Amazon's container registry (ECR): permission to push, and the repository.

use serde_json::json;

use super::push::{Reference, Registry};
use crate::connection::Connection;
use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::service::Service;

/// The account's registry in ECR.
pub struct Ecr {
    host: String,
    authorization: String,
}

impl Ecr {
    /// Requests permission to push.
    ///
    /// # Errors
    /// If AWS refuses the call.
    pub fn open(control_plane: &ControlPlane) -> Result<Self> {
        let answer = control_plane.call(Service::Ecr, "GetAuthorizationToken", &json!({}))?;
        let data = &answer["authorizationData"][0];
        let text = |field: &str| data[field].as_str().map(str::to_owned);
        let (Some(token), Some(url)) = (text("authorizationToken"), text("proxyEndpoint")) else {
            return Err(Error::BadAnswer {
                url: "ECR".into(),
                operation: "GetAuthorizationToken".into(),
                problem: "no token".into(),
            });
        };
        let host = url.split_once("://").map_or(&*url, |(_, host)| host).to_owned();
        Ok(Self { host, authorization: format!("Basic {token}") })
    }

    /// The default reference of an image of this version.
    pub fn default_reference(&self) -> Reference {
        Reference {
            host: self.host.clone(),
            repository: super::REPOSITORY.into(),
            tag: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// Checks that the reference names this registry.
    ///
    /// # Errors
    /// If it names another account or region, for which the permission is not valid.
    pub fn require(&self, reference: &Reference) -> Result<()> {
        if self.host == reference.host {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "{} is not the registry of these credentials and this region, which is {}: set \
             AWS_PROFILE and AWS_REGION for it, or leave the place out",
            reference.host, self.host
        )))
    }

    /// Creates the repository unless it exists.
    ///
    /// # Errors
    /// If AWS refuses the call.
    pub fn ensure_repository(&self, control_plane: &ControlPlane, name: &str) -> Result<()> {
        let body = json!({"repositoryName": name});
        match control_plane.call(Service::Ecr, "CreateRepository", &body) {
            Err(Error::Refused { code, .. }) if code == "RepositoryAlreadyExistsException" => {
                Ok(())
            }
            made => made.map(drop),
        }
    }

    /// Creates a client of the registry.
    pub fn registry(&self, connection: &Connection) -> Registry {
        Registry::new(connection, &self.host, Some(self.authorization.clone()))
    }

    /// Whether a host is one of Amazon's registries.
    pub fn is_host(host: &str) -> bool {
        host.contains(".dkr.ecr.")
    }
}
