import type { Duplex } from 'node:stream'
import { Deadline } from './deadline.js'
import { guard } from './handover.js'

/** Input that is thrown away while a last answer is on its way; past it the peer is left to block. */
const DISCARD_LIMIT = 1_048_576

/**
 * Sends a last answer and closes so that it arrives: the peer's input is read and dropped until it closes too. Destroying
 * a socket that holds unread input makes the kernel send a reset, which may take the answer with it.
 * @param lingerMs how long the peer may take to close, in milliseconds, before the stream is destroyed.
 */
export function endAndLinger(stream: Duplex, lastBytes: Uint8Array, lingerMs: number): void {
  if (stream.destroyed) return
  guard(stream)
  const deadline = new Deadline(lingerMs, () => stream.destroy())
  let discarded = 0
  const onData = (chunk: Uint8Array): void => {
    discarded += chunk.length
    if (discarded > DISCARD_LIMIT) stream.pause()
  }
  // Streams that do not destroy themselves when both ways have ended are destroyed here.
  const onWayEnded = (): void => {
    if (stream.readableEnded && stream.writableFinished) stream.destroy()
  }
  stream.on('data', onData)
  stream.on('end', onWayEnded)
  stream.on('finish', onWayEnded)
  stream.on('close', () => deadline.clear())
  try {
    stream.end(lastBytes)
  } catch {
    // A stream of the application's own whose write throws.
    stream.destroy()
    return
  }
  stream.resume()
}
