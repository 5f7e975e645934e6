/**
 * Reading an event stream from a fetch response.
 *
 * @typedef {object} Frame
 * @property {string} content Text to append.
 * @property {boolean} is_final
 * @property {string} [type]
 * @property {string} [finish_reason]
 * @property {{code: string, message: string}} [error]
 *
 * @typedef {{id: string, frame: Frame}} Event
 */

/**
 * The events of a response, as they come.
 * @param {Response} response
 * @returns {AsyncGenerator<Event>}
 */
export async function* events(response) {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const event = parse(text.slice(0, end));
      text = text.slice(end + 2);
      if (event) yield event;
    }
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
