//! The bytes of an object in order, fetched several ranges at a time.

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

/// The bytes of a range. With [`RANGES`] it bounds the memory that a download takes.
const RANGE: u64 = 8 << 20;

/// Ranges that are fetched at a time.
const RANGES: usize = 8;

/// Times that a connection may break in a row with nothing arriving in between. Below this the
/// client has tried three times by itself.
const ATTEMPTS: u32 = 6;

/// Reads an object. What was read is checked at the end. An [`Error`] is inside each
/// [`io::Error`].
pub struct Download<'a> {
    s3: &'a S3,
    progress: &'a dyn Progress,
    shared: Arc<Shared>,
    /// Ranges under way, in order, and the first byte that was not asked for yet.
    ranges: VecDeque<Fetch>,
    next: u64,
    /// The range that is being read, and how far it is.
    current: Vec<u8>,
    position: usize,
    /// Taken when the end is reached.
    check: Option<Check>,
    told: u64,
}

/// What the fetching of every range needs.
struct Shared {
    client: Client,
    object: Object,
    region: String,
    /// Bytes that arrived, of all ranges.
    arrived: AtomicU64,
}

/// A range that is being fetched, until it is dropped.
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
            told: 0,
        };
        download.ask();
        download
    }

    /// Asks for as many ranges as may be under way.
    fn ask(&mut self) {
        while self.ranges.len() < RANGES && self.next < self.shared.object.size {
            let end = (self.next + RANGE).min(self.shared.object.size);
            let fetch = Arc::clone(&self.shared).fetch(self.next..end);
            self.ranges.push_back(Fetch(self.s3.runtime().spawn(fetch)));
            self.next = end;
        }
    }

    /// Takes up the next range; none at the end, which is only reached when all is right.
    fn advance(&mut self) -> Result<bool> {
        // Its memory goes before the next range is asked for.
        (self.current, self.position) = (Vec::new(), 0);
        let Some(mut fetch) = self.ranges.pop_front() else {
            return self.require_checksum().map(|()| false);
        };
        self.ask();
        let (progress, shared, told) = (self.progress, &self.shared, &mut self.told);
        let bytes = self.s3.connection().wait_with(
            progress,
            async {
                (&mut fetch.0)
                    .await
                    .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
            },
            || {
                let arrived = shared.arrived.load(Ordering::Relaxed);
                progress.advance(arrived - *told);
                *told = arrived;
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
    /// An error if what arrived has not the checksum that is stored.
    fn require_checksum(&mut self) -> Result<()> {
        if self.check.take().is_none_or(Check::agrees) {
            return Ok(());
        }
        let object = &self.shared.object;
        Err(Error::Checksum {
            uri: object.uri.clone(),
            algorithm: object.algorithm(),
        })
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

/// Why a range did not come whole.
enum Stop {
    /// Asking again would not help.
    Final(Error),
    /// What came can be kept, and the rest be asked for.
    Broken(String),
}

impl Shared {
    /// Fetches a range, however often the connection breaks, as long as something arrives.
    async fn fetch(self: Arc<Self>, range: Range<u64>) -> Result<Vec<u8>> {
        let due = usize::try_from(range.end - range.start).expect("a range fits into memory");
        let mut bytes = Vec::with_capacity(due);
        let mut attempts = 0;
        loop {
            let before = bytes.len();
            let problem = match self.fetch_rest(&range, due, &mut bytes).await {
                Ok(()) => return Ok(bytes),
                Err(Stop::Final(error)) => return Err(error),
                Err(Stop::Broken(problem)) => problem,
            };
            attempts = if bytes.len() > before {
                1
            } else {
                attempts + 1
            };
            if attempts == ATTEMPTS {
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

    /// Asks for what `bytes` lacks of the range, and adds what comes.
    async fn fetch_rest(
        &self,
        range: &Range<u64>,
        due: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let start = range.start + bytes.len() as u64;
        let uri = &self.object.uri;
        let get = self.client.get_object().bucket(uri.bucket()).key(uri.key());
        let get = get
            .range(format!("bytes={start}-{}", range.end - 1))
            .set_if_match(self.object.etag.clone());
        let answer = get.send().await.map_err(|error| {
            let status = error.raw_response().map(|raw| raw.status().as_u16());
            if status.is_none_or(|status| !(300..500).contains(&status)) {
                return Stop::Broken(innermost(&error));
            }
            let request = Request {
                uri,
                action: READ,
                region: &self.region,
            };
            Stop::Final(match request.error(&error) {
                Error::NoSuchKey { uri } => Error::Changed { uri },
                error => error,
            })
        })?;
        self.require(&answer, range.end - start)?;
        let mut body = answer.body;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| Stop::Broken(innermost(&error)))?;
            if bytes.len() + piece.len() > due {
                return Err(Stop::Final(self.wrong_length("more", range.end - start)));
            }
            bytes.extend_from_slice(&piece);
            let count = piece.len() as u64;
            self.arrived.fetch_add(count, Ordering::Relaxed);
        }
        match bytes.len() == due {
            true => Ok(()),
            false => Err(Stop::Broken("the answer ended too early".to_owned())),
        }
    }

    /// An error unless the answer holds `due` bytes of the object's version.
    fn require(&self, answer: &GetObjectOutput, due: u64) -> Result<(), Stop> {
        if answer.e_tag() != self.object.etag.as_deref() {
            return Err(Stop::Final(Error::Changed {
                uri: self.object.uri.clone(),
            }));
        }
        match answer
            .content_length()
            .and_then(|length| u64::try_from(length).ok())
        {
            Some(length) if length != due => {
                Err(Stop::Final(self.wrong_length(&length.to_string(), due)))
            }
            _ => Ok(()),
        }
    }

    fn wrong_length(&self, found: &str, due: u64) -> Error {
        Error::Length {
            uri: self.object.uri.clone(),
            found: format!("{found} bytes"),
            expected: due.to_string(),
        }
    }
}
