// @ts-check
// What streams carry: every byte follows from its place, so that what is lost, doubled, moved or foreign shows.

// A prime: no slip by a power of two goes unnoticed.
const LENGTH = 262_139

/** The most that is sent in one piece, and read in one piece where the reader may choose. */
export const CHUNK = 128 * 1024

// Twice, so that every piece is one range of it.
const PATTERN = Buffer.alloc(2 * LENGTH)
for (let at = 0, state = 0x9e3779b9; at < LENGTH; at++) {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  PATTERN[at] = PATTERN[at + LENGTH] = state >>> 24
}

/**
 * Where in the pattern a stream begins. Streams differ, and so do their two directions.
 * @param {number} stream @param {'up' | 'down'} direction
 */
export function beginOf(stream, direction) {
  return stream * 7_919 + (direction === 'up' ? 13 : 100_003)
}

/** The bytes that belong at a place; a view. @param {number} place @param {number} length at most {@link CHUNK} */
export function bytesAt(place, length) {
  const start = place % LENGTH
  return PATTERN.subarray(start, start + length)
}

/** Whether the first bytes of a buffer are those that belong at a place. @param {Buffer} bytes @param {number} length @param {number} place */
export function belongsAt(bytes, length, place) {
  const start = place % LENGTH
  return bytes.compare(PATTERN, start, start + length, 0, length) === 0
}
