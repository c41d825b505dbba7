//! Objects on S3, for the asynchronous calls of local mode.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use epitome_aws::{Found, S3Uri};
use epitome_endpoint::Objects;
use epitome_runtime::scratch;

use crate::aws;

/// Reads and writes objects on S3. Connects when it is first used.
pub(crate) struct S3Objects;

impl Objects for S3Objects {
    fn get(&self, address: &str, limit: usize) -> Result<Vec<u8>, String> {
        get(address, limit).map_err(|error| format!("{error:#}"))
    }

    fn put(&self, address: &str, bytes: &[u8]) -> Result<(), String> {
        put(address, bytes).map_err(|error| format!("{error:#}"))
    }
}

fn get(address: &str, limit: usize) -> Result<Vec<u8>> {
    let uri: S3Uri = address.parse()?;
    let s3 = aws::s3()?;
    let Found::Object(object) = s3.find(&uri, &())? else {
        bail!("{uri} is not an object");
    };
    if object.size() > limit as u64 {
        bail!("{uri} has more than {limit} bytes");
    }
    let mut bytes = Vec::new();
    s3.download(*object, &()).read_to_end(&mut bytes).with_context(|| format!("reading {uri}"))?;
    Ok(bytes)
}

fn put(address: &str, bytes: &[u8]) -> Result<()> {
    let uri: S3Uri = address.parse()?;
    let mut file = scratch::File::new(".epitome-object-")?;
    file.write_all(bytes)?;
    Ok(aws::s3()?.put_file(file.path(), &uri, &())?)
}
