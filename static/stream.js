/**
 * Reads an event stream from a fetch response.
 *
 * @typedef {import("./types.js").Frame} Frame
 * @typedef {{id: string, frame: Frame}} Event
 */

/** A stream that is silent for this long, in ms, is dead: the server sends a comment every 15 s. */
const SILENCE = 40_000;

/** How often the silence is checked, in ms. It is measured in wall-clock time: timers stop while the machine sleeps. */
const LOOK = 5_000;

/**
 * The events of a response as they arrive, until the response ends or is silent for too long. A stream that was open
 * when the network went or came back also ends: its connection may be dead.
 * @param {Response} response
 * @param {AbortSignal} [aborted] Also ends the stream.
 * @returns {AsyncGenerator<Event>}
 */
export async function* events(response, aborted) {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const drop = () => void reader.cancel().catch(() => {});
  let heard = Date.now();
  const watch = setInterval(() => {
    if (Date.now() - heard > SILENCE) drop();
  }, LOOK);
  addEventListener("online", drop);
  addEventListener("offline", drop);
  aborted?.addEventListener("abort", drop);
  if (aborted?.aborted) drop();
  try {
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard = Date.now();
      text += value;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const event = parse(text.slice(0, end));
        text = text.slice(end + 2);
        if (event) yield event;
      }
    }
  } finally {
    clearInterval(watch);
    removeEventListener("online", drop);
    removeEventListener("offline", drop);
    aborted?.removeEventListener("abort", drop);
    drop();
  }
}

/**
 * @param {string} block The lines of one event.
 * @returns {Event | null}
 */
function parse(block) {
  let id = "";
  let data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("id: ")) id = line.slice(4);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  return data ? { id, frame: JSON.parse(data) } : null;
}
