//! Registers the [domain](super::DOMAIN) with ONNX Runtime.

use std::sync::Mutex;

use ort::environment::Environment;
use ort::session::Session;

/// A minimal ONNX model: `y = Identity(x)`, float32.
#[rustfmt::skip]
pub const SMALLEST_MODEL: &[u8] = &[
    0x08, 8, // ir_version
    0x3a, 43, // graph
        0x0a, 16, // node
            0x0a, 1, b'x',
            0x12, 1, b'y',
            0x22, 8, b'I', b'd', b'e', b'n', b't', b'i', b't', b'y',
        0x12, 1, b'g', // name
        0x5a, 9, // input, a tensor of floats
            0x0a, 1, b'x',
            0x12, 4, 0x0a, 2, 0x08, 1,
        0x62, 9, // output, a tensor of floats
            0x0a, 1, b'y',
            0x12, 4, 0x0a, 2, 0x08, 1,
    0x42, 2, // opset_import
        0x10, 20,
];

/// Registers the domain, before the first session that uses it.
///
/// ONNX Runtime has a list of domains for the whole process. A session looks for its domain and
/// adds it if it is missing. These two steps are not atomic: if the first two sessions are created
/// concurrently, one can fail since its domain "already exists". So one session is created here
/// first.
pub fn register(environment: &Environment) -> ort::Result<()> {
    static REGISTERED: Mutex<bool> = Mutex::new(false);
    let mut registered = REGISTERED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*registered {
        Session::builder(environment)?
            .with_operators(super::domain(None)?)?
            .commit_from_memory(SMALLEST_MODEL)?;
        *registered = true;
    }
    Ok(())
}
