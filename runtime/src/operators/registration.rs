//! Making the [domain](super::DOMAIN) known to ONNX Runtime.

use std::sync::Mutex;

use ort::environment::Environment;
use ort::session::Session;

/// The smallest model there is, as an ONNX file: `y = Identity(x)`, of floats.
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

/// Registers the domain with the process, before the first session that uses it.
///
/// Every session looks whether a list that the whole process shares holds its domains, and then
/// adds those that are missing: of two first sessions that are made at once, as encoder and decoder
/// are, the second can find its domain "already exists". One session made alone goes before them.
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
