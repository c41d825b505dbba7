//! The first sessions of a process, created concurrently. This test needs a process of its own,
//! since ONNX Runtime keeps the domains that it has seen.

use std::num::NonZeroUsize;
use std::sync::Barrier;

use epitome_runtime::SessionOptions;
use epitome_runtime::library::OnnxRuntime;
use epitome_runtime::operators::registration::SMALLEST_MODEL;
use epitome_runtime::session;

#[test]
fn first_sessions_can_be_created_concurrently() {
    const SESSIONS: usize = 16;
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("smallest.onnx");
    std::fs::write(&model, SMALLEST_MODEL).unwrap();
    let runtime = OnnxRuntime::load().unwrap();
    let options = SessionOptions { threads: NonZeroUsize::MIN, ..SessionOptions::default() };

    let start = Barrier::new(SESSIONS);
    std::thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    session::open(&runtime, &model, &options)
                })
            })
            .collect();
        for session in sessions {
            session.join().unwrap().unwrap();
        }
    });
}
