/**
 * Says that somebody is writing: with each key, but not more often than every three seconds.
 */

/** How soon it is said again, in ms. */
const AGAIN = 3_000;

/**
 * @param {HTMLTextAreaElement} input
 * @param {() => Promise<unknown> | null} tell Nothing, where nobody is to be told.
 */
export function tellTyping(input, tell) {
  let last = -AGAIN;
  input.addEventListener("input", () => {
    // With the first letter of another message it is news.
    const isNew = input.value.length === 1;
    if (!input.value || (!isNew && performance.now() - last < AGAIN)) return;
    const told = tell();
    if (!told) return;
    last = performance.now();
    // Whoever does not hear of it misses little.
    told.catch(() => {});
  });
}
