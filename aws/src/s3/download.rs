//! The bytes of an object in order. Several ranges are fetched at a time.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use epitome_runtime::Progress;
use epitome_runtime::error::innermost;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::answer::Request;
use super::checksum::Check;
use super::client::S3;
use super::object::{Object, READ};
use crate::error::{Error, Result};

/// Size of a range in bytes. Times [`MAX_RANGES`], it bounds the memory of a download.
const RANGE_BYTES: u64 = 8 << 20;

/// Number of ranges that are fetched at the same time.
const MAX_RANGES: usize = 8;

/// Number of times that a connection may break in a row without a received byte. The SDK itself
/// tries each request three times.
const MAX_ATTEMPTS: u32 = 6;

/// Reads an object. Compares its checksum at the end. Each [`io::Error`] contains an [`Error`].
pub struct Download<'a> {
    s3: &'a S3,
    progress: &'a dyn Progress,
    shared: Arc<Shared>,
    /// Ranges that are being fetched, in order, and the first byte after them.
    ranges: VecDeque<Fetch>,
    next: u64,
    /// The current range, and the position in it.
    current: Vec<u8>,
    position: usize,
    /// `None` after the comparison at the end.
    check: Option<Check>,
    reported: u64,
}

/// State that all ranges share.
struct Shared {
    client: Client,
    object: Object,
    region: String,
    /// Received bytes of all ranges.
    arrived: AtomicU64,
}

/// A range that is being fetched. Dropping it aborts the request.
struct Fetch(JoinHandle<Result<Vec<u8>>>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl S3 {
    /// Begins to fetch an object. The bytes that arrive advance the current stage of `progress`.
    pub fn download<'a>(&'a self, object: Object, progress: &'a dyn Progress) -> Download<'a> {
        Download::new(self, object, progress)
    }
}

impl<'a> Download<'a> {
    fn new(s3: &'a S3, object: Object, progress: &'a dyn Progress) -> Self {
        let mut download = Self {
            s3,
            progress,
            check: object.check(),
            shared: Arc::new(Shared {
                client: s3.client().clone(),
                region: s3.request(&object.uri, READ).region.to_owned(),
                object,
                arrived: AtomicU64::new(0),
            }),
            ranges: VecDeque::new(),
            next: 0,
            current: Vec::new(),
            position: 0,
            reported: 0,
        };
        download.ask();
        download
    }

    /// Requests ranges until the limit is reached.
    fn ask(&mut self) {
        while self.ranges.len() < MAX_RANGES && self.next < self.shared.object.size {
            let end = (self.next + RANGE_BYTES).min(self.shared.object.size);
            let fetch = Arc::clone(&self.shared).fetch(self.next..end);
            self.ranges.push_back(Fetch(self.s3.runtime().spawn(fetch)));
            self.next = end;
        }
    }

    /// Moves to the next range. Returns false at the end of the object, once its checksum is
    /// verified.
    fn advance(&mut self) -> Result<bool> {
        // Frees the memory before the next range is requested.
        (self.current, self.position) = (Vec::new(), 0);
        let Some(mut fetch) = self.ranges.pop_front() else {
            return self.require_checksum().map(|()| false);
        };
        self.ask();
        let (progress, shared, reported) = (self.progress, &self.shared, &mut self.reported);
        let bytes = self.s3.connection().wait_with(
            progress,
            async {
                (&mut fetch.0)
                    .await
                    .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
            },
            || {
                let arrived = shared.arrived.load(Ordering::Relaxed);
                progress.advance(arrived - *reported);
                *reported = arrived;
            },
        )?;
        if let Some(check) = &mut self.check {
            check.update(&bytes);
        }
        self.current = bytes;
        Ok(true)
    }
}

impl Download<'_> {
    /// Returns an error unless the bytes have the stored checksum.
    fn require_checksum(&mut self) -> Result<()> {
        if self.check.take().is_none_or(Check::matches) {
            return Ok(());
        }
        let object = &self.shared.object;
        Err(Error::Checksum { uri: object.uri.clone(), algorithm: object.algorithm() })
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.cancelled() {
            return Err(io::Error::other(Error::Interrupted));
        }
        if self.position == self.current.len() && !self.advance().map_err(io::Error::other)? {
            return Ok(0);
        }
        let left = &self.current[self.position..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.position += count;
        Ok(count)
    }
}

/// Reason why a range is incomplete.
enum Failure {
    /// Another request would fail too.
    Permanent(Error),
    /// Another request can fetch the rest.
    Transient(String),
}

impl Shared {
    /// Fetches a range. A broken connection is retried as long as bytes arrive.
    async fn fetch(self: Arc<Self>, range: Range<u64>) -> Result<Vec<u8>> {
        let expected = usize::try_from(range.end - range.start).expect("a range fits into memory");
        let mut bytes = Vec::with_capacity(expected);
        let mut attempts = 0;
        loop {
            let before = bytes.len();
            let problem = match self.fetch_rest(&range, expected, &mut bytes).await {
                Ok(()) => return Ok(bytes),
                Err(Failure::Permanent(error)) => return Err(error),
                Err(Failure::Transient(problem)) => problem,
            };
            attempts = if bytes.len() > before { 1 } else { attempts + 1 };
            if attempts == MAX_ATTEMPTS {
                return Err(Error::Broken {
                    uri: self.object.uri.clone(),
                    attempts,
                    at: range.start + bytes.len() as u64,
                    problem,
                });
            }
            sleep(Duration::from_millis(100 << attempts)).await;
        }
    }

    /// Requests the missing rest of the range, and appends the received bytes to `bytes`.
    async fn fetch_rest(
        &self,
        range: &Range<u64>,
        expected: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let start = range.start + bytes.len() as u64;
        let uri = &self.object.uri;
        let get = self.client.get_object().bucket(uri.bucket()).key(uri.key());
        let get = get
            .range(format!("bytes={start}-{}", range.end - 1))
            .set_if_match(self.object.etag.clone());
        let answer = get.send().await.map_err(|error| {
            let status = error.raw_response().map(|raw| raw.status().as_u16());
            if status.is_none_or(|status| !(300..500).contains(&status)) {
                return Failure::Transient(innermost(&error));
            }
            let request = Request { uri, action: READ, region: &self.region };
            Failure::Permanent(match request.error(&error) {
                Error::NoSuchKey { uri } => Error::Changed { uri },
                error => error,
            })
        })?;
        self.require(&answer, range.end - start)?;
        let mut body = answer.body;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| Failure::Transient(innermost(&error)))?;
            if bytes.len() + piece.len() > expected {
                return Err(Failure::Permanent(self.wrong_length("more", range.end - start)));
            }
            bytes.extend_from_slice(&piece);
            let count = piece.len() as u64;
            self.arrived.fetch_add(count, Ordering::Relaxed);
        }
        match bytes.len() == expected {
            true => Ok(()),
            false => Err(Failure::Transient("the answer ended too early".to_owned())),
        }
    }

    /// Returns an error unless the answer has `expected` bytes of the object's version.
    fn require(&self, answer: &GetObjectOutput, expected: u64) -> Result<(), Failure> {
        if answer.e_tag() != self.object.etag.as_deref() {
            return Err(Failure::Permanent(Error::Changed { uri: self.object.uri.clone() }));
        }
        match answer.content_length().and_then(|length| u64::try_from(length).ok()) {
            Some(length) if length != expected => {
                Err(Failure::Permanent(self.wrong_length(&length.to_string(), expected)))
            }
            _ => Ok(()),
        }
    }

    fn wrong_length(&self, found: &str, expected: u64) -> Error {
        Error::Length {
            uri: self.object.uri.clone(),
            found: format!("{found} bytes"),
            expected: expected.to_string(),
        }
    }
}
