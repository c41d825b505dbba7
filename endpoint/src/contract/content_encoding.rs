//! Compressed bodies, with the content codings of RFC 9110.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use hyper::header::{CONTENT_ENCODING, HeaderMap};

use crate::blocking_pool::Stop;
use crate::error::ApiError;
use crate::in_flight::Charge;

/// Number of bytes that are decompressed at a time.
const PIECE: usize = 64 << 10;

/// The compression of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// `gzip`, also under its old name `x-gzip`.
    Gzip,
    /// `deflate`: the zlib format, or the raw stream that some clients send.
    Deflate,
}

impl Coding {
    /// The coding that a request names; `None` for an uncompressed body.
    ///
    /// # Errors
    /// If it names another coding, or several.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut coding = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            let value = String::from_utf8_lossy(value.as_bytes());
            for name in value.split(',').map(str::trim) {
                let found = match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    _ => return Err(ApiError::UnsupportedCoding(value.into_owned())),
                };
                if coding.replace(found).is_some() {
                    return Err(ApiError::UnsupportedCoding(value.into_owned()));
                }
            }
        }
        Ok(coding)
    }

    /// The uncompressed body, of at most `limit` bytes. Decompresses twice: the first pass finds
    /// the length, for which memory is then charged.
    pub(crate) fn decode(
        self,
        body: &[u8],
        limit: usize,
        charge: &mut Charge,
        stop: &Stop,
    ) -> Result<Vec<u8>, ApiError> {
        let mut length = 0;
        self.decode_pieces(body, stop, |piece| {
            length += piece.len();
            if length > limit { Err(ApiError::TooLarge(limit)) } else { Ok(()) }
        })?;
        charge.grow(length)?;
        let mut decoded = Vec::new();
        decoded.try_reserve_exact(length).map_err(|_| ApiError::MemoryInUse)?;
        self.decode_pieces(body, stop, |piece| {
            decoded.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(decoded)
    }

    /// Decompresses a body piece by piece.
    fn decode_pieces(
        self,
        body: &[u8],
        stop: &Stop,
        mut take: impl FnMut(&[u8]) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let mut reader: Box<dyn Read> = match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(body)),
            Self::Deflate if has_zlib_header(body) => Box::new(ZlibDecoder::new(body)),
            Self::Deflate => Box::new(DeflateDecoder::new(body)),
        };
        let mut piece = vec![0; PIECE];
        loop {
            stop.check()?;
            let count = reader.read(&mut piece).map_err(|error| {
                ApiError::BadRequest(format!("the body cannot be decompressed: {error}"))
            })?;
            if count == 0 {
                return Ok(());
            }
            take(&piece[..count])?;
        }
    }
}

/// RFC 1950: the method is 8, and both bytes together are a multiple of 31.
fn has_zlib_header(body: &[u8]) -> bool {
    match body {
        [first, second, ..] => {
            first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use hyper::header::HeaderValue;

    use super::*;
    use crate::in_flight::Budget;

    const LIMIT: usize = 1 << 20;

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let budget = Budget::new(0, LIMIT);
        let (mut other, mut charge) = (budget.open(), budget.open());
        other.grow(LIMIT / 2).unwrap();
        let body = gzip(&vec![b'a'; LIMIT]);
        let decoded = Coding::Gzip.decode(&body, LIMIT, &mut charge, &Stop::never());
        assert_eq!(decoded, Err(ApiError::MemoryInUse));
        // The remaining budget is unchanged.
        other.grow(LIMIT / 2).unwrap();
    }

    fn decode(coding: Coding, body: &[u8]) -> Result<Vec<u8>, ApiError> {
        let mut charge = Budget::new(0, LIMIT).open();
        coding.decode(body, LIMIT, &mut charge, &Stop::never())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn both_codings_are_read_and_a_bomb_is_refused() {
        let text = b"A town. ".repeat(1000);
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(&text).unwrap();
        assert_eq!(decode(Coding::Gzip, &gzip(&text)).unwrap(), text);
        assert_eq!(decode(Coding::Deflate, &zlib.finish().unwrap()).unwrap(), text);
        assert_eq!(decode(Coding::Deflate, &bare.finish().unwrap()).unwrap(), text);
        let bomb = gzip(&vec![b'a'; LIMIT + 1]);
        assert!(bomb.len() < 2000);
        assert_eq!(decode(Coding::Gzip, &bomb), Err(ApiError::TooLarge(LIMIT)));
        let cut = gzip(&text);
        for coding in [Coding::Gzip, Coding::Deflate] {
            assert_eq!(decode(coding, &cut[..cut.len() / 2]).unwrap_err().status(), 400);
        }
    }

    #[test]
    fn other_codings_are_refused() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(value));
            Coding::of(&headers).map_err(|error| error.status().as_u16())
        };
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("identity"), Ok(None));
        assert_eq!(of("GZIP"), Ok(Some(Coding::Gzip)));
        assert_eq!(of("deflate"), Ok(Some(Coding::Deflate)));
        assert_eq!(of("br"), Err(415));
        assert_eq!(of("gzip, gzip"), Err(415));
    }
}
