//! The upload of an object, which appears complete, or not at all.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use epitome_runtime::Progress;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::Request;
use super::client::S3;
use crate::error::{Error, Result};
use crate::uri::S3Uri;

/// Permission for writing.
const WRITE: &str = "s3:PutObject";

/// Size of a part in bytes. Parts are larger if an object would have too many.
const PART_BYTES: u64 = 8 << 20;

/// S3's limit of parts of an object.
const MAX_PARTS: u64 = 10_000;

/// Number of parts that are sent at the same time.
const MAX_SENDING: usize = 4;

/// Longest wait for running parts, and for the abort itself, when an upload is aborted.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Condition on the existing object when the upload completes.
#[derive(Clone, Debug)]
pub(super) enum Precondition {
    /// There is no object.
    Absent,
    /// The object has this ETag.
    ETag(String),
    /// There is no condition.
    None,
}

/// Description of the new object.
#[derive(Clone, Debug)]
pub(super) struct Put<'a> {
    pub(super) uri: &'a S3Uri,
    pub(super) precondition: &'a Precondition,
    pub(super) content_type: &'static str,
    /// Metadata of the object: a key and a value.
    pub(super) metadata: Option<(&'static str, String)>,
    /// Largest possible size in bytes.
    pub(super) bytes: u64,
}

/// Receives the bytes of an object. Unless [`finish`](Upload::finish) succeeds, nothing is left of
/// the object.
pub(super) struct Upload<'a> {
    s3: &'a S3,
    put: Put<'a>,
    progress: &'a dyn Progress,
    part: usize,
    buffer: Vec<u8>,
    /// Id of the upload, once the first part is sent. An object of one part needs none.
    id: Option<String>,
    sending: VecDeque<JoinHandle<Result<CompletedPart>>>,
    sent: Vec<CompletedPart>,
}

impl<'a> Upload<'a> {
    pub(super) fn new(s3: &'a S3, put: Put<'a>, progress: &'a dyn Progress) -> Self {
        let part = put.bytes.div_ceil(MAX_PARTS).max(PART_BYTES);
        Self {
            s3,
            put,
            progress,
            part: usize::try_from(part).expect("a part fits into memory"),
            buffer: Vec::new(),
            id: None,
            sending: VecDeque::new(),
            sent: Vec::new(),
        }
    }

    /// Creates the object from all written bytes.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.id.is_none() {
            return self.put_whole();
        }
        if !self.buffer.is_empty() {
            self.send()?;
        }
        while !self.sending.is_empty() {
            self.receive()?;
        }
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(std::mem::take(&mut self.sent)))
            .build();
        let (none, version) = self.conditions();
        let complete = self.s3.client().complete_multipart_upload();
        let complete = complete
            .bucket(self.put.uri.bucket())
            .key(self.put.uri.key())
            .set_upload_id(self.id.clone())
            .multipart_upload(parts)
            .set_if_none_match(none)
            .set_if_match(version);
        self.s3.wait(self.progress, async {
            complete.send().await.map_err(|error| self.error(&error))
        })?;
        self.id = None;
        Ok(())
    }

    /// Uploads an object of a single part with one request.
    fn put_whole(&mut self) -> Result<()> {
        let (none, version) = self.conditions();
        let put = self.s3.client().put_object();
        let mut put = put
            .bucket(self.put.uri.bucket())
            .key(self.put.uri.key())
            .content_type(self.put.content_type)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .set_if_none_match(none)
            .set_if_match(version)
            .body(ByteStream::from(std::mem::take(&mut self.buffer)));
        if let Some((name, value)) = &self.put.metadata {
            put = put.metadata(*name, value);
        }
        self.s3
            .wait(self.progress, async { put.send().await.map_err(|error| self.error(&error)) })?;
        Ok(())
    }

    /// Sends the buffer as the next part.
    fn send(&mut self) -> Result<()> {
        if self.id.is_none() {
            self.id = Some(self.begin()?);
        }
        if self.sending.len() == MAX_SENDING {
            self.receive()?;
        }
        let number = self.sent.len() + self.sending.len() + 1;
        let number = i32::try_from(number).expect("no more parts than S3 takes");
        let part = self.s3.client().upload_part();
        let part = part
            .bucket(self.put.uri.bucket())
            .key(self.put.uri.key())
            .set_upload_id(self.id.clone())
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(std::mem::take(&mut self.buffer)));
        let request = self.request();
        let (uri, region) = (request.uri.clone(), request.region.to_owned());
        self.sending.push_back(self.s3.runtime().spawn(async move {
            let request = Request { uri: &uri, action: WRITE, region: &region };
            let answer = part.send().await.map_err(|error| request.error(&error))?;
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(answer.e_tag)
                .set_checksum_crc32(answer.checksum_crc32)
                .build())
        }));
        Ok(())
    }

    fn begin(&self) -> Result<String> {
        let create = self.s3.client().create_multipart_upload();
        let mut create = create
            .bucket(self.put.uri.bucket())
            .key(self.put.uri.key())
            .content_type(self.put.content_type)
            .checksum_algorithm(ChecksumAlgorithm::Crc32);
        if let Some((name, value)) = &self.put.metadata {
            create = create.metadata(*name, value);
        }
        let answer = self.s3.wait(self.progress, async {
            create.send().await.map_err(|error| self.error(&error))
        })?;
        answer.upload_id.ok_or_else(|| Error::BadAnswer {
            url: self.put.uri.to_string(),
            operation: "CreateMultipartUpload".to_owned(),
            problem: "no upload id".to_owned(),
        })
    }

    /// Waits for the oldest running part.
    fn receive(&mut self) -> Result<()> {
        let Some(mut part) = self.sending.pop_front() else {
            return Ok(());
        };
        let sent = self.s3.wait(self.progress, async {
            let sent = (&mut part).await;
            sent.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        });
        if sent.is_err() && !part.is_finished() {
            self.sending.push_front(part);
        }
        self.sent.push(sent?);
        Ok(())
    }

    /// Values of the headers `If-None-Match` and `If-Match`.
    fn conditions(&self) -> (Option<String>, Option<String>) {
        match self.put.precondition {
            Precondition::Absent => (Some("*".to_owned()), None),
            Precondition::ETag(etag) => (None, Some(etag.clone())),
            Precondition::None => (None, None),
        }
    }

    fn request(&self) -> Request<'_> {
        self.s3.request(self.put.uri, WRITE)
    }

    fn error<E>(&self, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let conflict = error.code() == Some("ConditionalRequestConflict");
        match self.request().error(error) {
            Error::Changed { uri } => Error::DestinationChanged { uri },
            _ if conflict => Error::DestinationChanged { uri: self.put.uri.clone() },
            error => error,
        }
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == self.part {
            self.send().map_err(io::Error::other)?;
        }
        if self.buffer.capacity() == 0 {
            let most = usize::try_from(self.put.bytes).unwrap_or(usize::MAX);
            self.buffer.reserve_exact(self.part.min(most));
        }
        let count = bytes.len().min(self.part - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let abort = self.s3.client().abort_multipart_upload();
        let abort = abort.bucket(self.put.uri.bucket()).key(self.put.uri.key()).upload_id(id);
        let sending = std::mem::take(&mut self.sending);
        self.s3.runtime().block_on(async {
            // A part that arrives after the abort would stay, and cost money.
            let end = Instant::now() + ABORT_TIMEOUT;
            for mut part in sending {
                if timeout_at(end, &mut part).await.is_err() {
                    part.abort();
                    let _ = part.await;
                }
            }
            // If the abort fails, only the bucket's lifecycle rules remove the parts.
            let _ = timeout(ABORT_TIMEOUT, abort.send()).await;
        });
    }
}
