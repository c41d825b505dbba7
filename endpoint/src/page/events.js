/** Server-sent events, as they arrive: {event, data} with the data read as JSON. */
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    pending += value ?? "";
    const frames = pending.split("\n\n");
    pending = done ? "" : frames.pop();
    for (const frame of frames) {
      const read = readFrame(frame);
      if (read) {
        yield read;
      }
    }
    if (done) {
      return;
    }
  }
}

function readFrame(frame) {
  let event = "message";
  const data = [];
  for (const line of frame.split("\n")) {
    if (line.startsWith("event:")) {
      event = line.slice(6).trim();
    } else if (line.startsWith("data:")) {
      data.push(line.slice(5).trimStart());
    }
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}
