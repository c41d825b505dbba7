//! Reads request bodies from clients that may be slow, or send too much.

use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;

use crate::error::ApiError;
use crate::in_flight::Charge;

/// Bytes of a refused body that are still read, and the time for that. A client that is cut off
/// while it sends may never read the answer.
const DRAIN: (u64, Duration) = (64 << 20, Duration::from_secs(5));

/// Reads a whole body of at most `limit` bytes until `deadline`, and charges its memory.
pub(crate) async fn read(
    mut body: Body,
    limit: usize,
    deadline: Instant,
    charge: &mut Charge,
) -> Result<Bytes, ApiError> {
    let time = deadline.saturating_duration_since(Instant::now());
    let reading = async {
        let length = body.size_hint().lower();
        if length > limit as u64 {
            return Err(ApiError::TooLarge(limit));
        }
        let length = usize::try_from(length).unwrap_or(limit);
        charge.check(length)?;
        let mut bytes = Vec::new();
        // Reserves everything at once, so that the buffer never moves. Untouched memory costs
        // nothing.
        bytes.try_reserve_exact(length).map_err(|_| ApiError::MemoryInUse)?;
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| ApiError::BadRequest(format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > limit {
                return Err(ApiError::TooLarge(limit));
            }
            charge.grow(data.len())?;
            bytes.try_reserve(data.len()).map_err(|_| ApiError::MemoryInUse)?;
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.into())
    };
    let result = tokio::time::timeout(time, reading).await;
    let result = result.unwrap_or(Err(ApiError::SlowBody(time)));
    if matches!(result, Err(ApiError::TooLarge(_) | ApiError::MemoryInUse)) {
        let _ = tokio::time::timeout(DRAIN.1, drain(body)).await;
    }
    result
}

async fn drain(mut body: Body) {
    let mut left = DRAIN.0;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::{Frame, SizeHint};

    use super::*;
    use crate::in_flight::Budget;

    /// A body with a `Content-Length` that never arrives.
    struct Announced(u64);

    impl hyper::body::Body for Announced {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(None)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0)
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_fit_is_refused_before_it_is_read() {
        const LIMIT: usize = 1 << 20;
        let budget = Budget::new(0, LIMIT);
        let mut charge = budget.open();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut ask =
            async || read(Body::new(Announced(1 << 20)), LIMIT, deadline, &mut charge).await;
        assert_eq!(ask().await, Ok(Bytes::new()));
        let mut other = budget.open();
        other.grow(LIMIT / 2).unwrap();
        assert_eq!(ask().await, Err(ApiError::MemoryInUse));
    }
}
