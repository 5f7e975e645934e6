/**
 * Sends a typing signal while somebody writes, at most every 3 s. The server shows each signal for 5 s.
 */

/** The pause before the signal is sent again, in ms. */
const AGAIN = 3_000;

/**
 * @param {HTMLTextAreaElement} input
 * @param {() => Promise<unknown> | null} tell Sends the signal; null if nobody is to receive it.
 */
export function tellTyping(input, tell) {
  let last = -AGAIN;
  input.addEventListener("input", () => {
    // The first letter of a new message is signalled at once.
    const isNew = input.value.length === 1;
    if (!input.value || (!isNew && performance.now() - last < AGAIN)) return;
    const told = tell();
    if (!told) return;
    last = performance.now();
    // A lost signal does no harm.
    told.catch(() => {});
  });
}
