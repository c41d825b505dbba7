//! The endpoints of the AWS account, as a backend of the page.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use epitome_aws::{Error, Invoker, status};
use epitome_endpoint::{EndpointCall, EndpointError, Endpoints};

use crate::aws;

/// Calls the endpoints of the account, or the one endpoint of a server in place of AWS.
pub(crate) struct AccountEndpoints {
    /// The endpoint that answers by default.
    named: Option<String>,
    /// The server in place of AWS.
    url: Option<String>,
    invokers: Mutex<HashMap<String, Arc<Invoker>>>,
}

impl AccountEndpoints {
    /// The endpoints of the account, with the named one first. Where `url` is a server in place of
    /// AWS, the named one is the only endpoint.
    pub(crate) fn new(named: Option<String>, url: Option<String>) -> Self {
        Self { named, url, invokers: Mutex::default() }
    }

    fn invoker(&self, endpoint: &str) -> anyhow::Result<Arc<Invoker>> {
        let mut invokers = self.invokers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(invoker) = invokers.get(endpoint) {
            return Ok(invoker.clone());
        }
        let invoker = Invoker::new(aws::connection()?, endpoint, self.url.as_deref())?;
        let invoker = Arc::new(invoker);
        invokers.insert(endpoint.into(), invoker.clone());
        Ok(invoker)
    }
}

impl Endpoints for AccountEndpoints {
    fn names(&self) -> (Vec<String>, Option<String>) {
        let mut names: Vec<String> = self.named.iter().cloned().collect();
        if self.url.is_some() {
            return (names, None);
        }
        let listed =
            aws::control_plane().and_then(|plane| Ok(status::names(&plane, Some("InService"))?));
        match listed {
            Ok(listed) => {
                names.extend(listed.into_iter().filter(|name| self.named.as_ref() != Some(name)));
                (names, None)
            }
            Err(error) => {
                let problem = format!("The account's endpoints cannot be listed: {error}");
                (names, Some(problem))
            }
        }
    }

    fn invoke(
        &self,
        call: &EndpointCall,
        piece: &mut dyn FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), EndpointError> {
        let failed = |message: String| EndpointError { status: None, message };
        let invoker = self.invoker(&call.endpoint).map_err(|error| failed(error.to_string()))?;
        let body = call.body.to_vec();
        let result = if call.stream {
            const EVENTS: &str = "text/event-stream";
            invoker.call_streaming(body, EVENTS, &mut |bytes| piece(EVENTS, bytes))
        } else {
            invoker.call(body).map(|answer| {
                piece("application/json", &answer);
            })
        };
        result.map_err(|error| match error {
            Error::Model { status, message, .. } => EndpointError { status: Some(status), message },
            error => failed(error.to_string()),
        })
    }
}
