import { MessageChannel } from 'node:worker_threads'

/**
 * Gives the memory of a chunk that a socket has read back at once.
 *
 * For every read Node asks the system for 64 KiB, and the garbage collector frees it some time later. On glibc this is
 * often after the heap has been trimmed, so that the next 16 pages fault again: about half of what an upload costs
 * (`node bench/relay.mjs --modes bulk-up`, with and without `fastRelay`). A chunk whose buffer is detached is freed now.
 *
 * Whoever else holds the chunk sees it become empty. So: only chunks of sockets that this library has accepted itself and
 * given to nobody, and only after a write that has handed all of it to the system.
 * @returns whether the memory was given back: not for less than 16 KiB, which is not worth it, nor for a chunk that
 * shares its buffer.
 */
export function releaseChunk(chunk: Uint8Array): boolean {
  const { buffer } = chunk
  if (chunk.length < 16_384 || chunk.length !== buffer.byteLength) return false
  detach ??= [byTransfer(), byClosedPort()].find(works) ?? null
  // `as`: sockets read into memory of their own, never into shared memory.
  detach?.(buffer as ArrayBuffer)
  return detach !== null
}

/** Detaches a buffer, which frees its memory; `null` where this runtime cannot, `undefined` before anybody has asked. */
let detach: ((buffer: ArrayBuffer) => void) | null | undefined

/** ES2024, Node 21. */
function byTransfer(): ((buffer: ArrayBuffer) => void) | undefined {
  const transfer: unknown = Reflect.get(ArrayBuffer.prototype, 'transfer')
  return typeof transfer === 'function' ? (buffer) => transfer.call(buffer, 0) : undefined
}

/** A port whose other end is closed takes what is transferred to it, and drops it. */
function byClosedPort(): (buffer: ArrayBuffer) => void {
  const { port1, port2 } = new MessageChannel()
  port1.unref()
  port2.close()
  return (buffer) => port1.postMessage(null, [buffer])
}

function works(candidate: ((buffer: ArrayBuffer) => void) | undefined): boolean {
  if (candidate === undefined) return false
  try {
    const probe = new ArrayBuffer(8)
    candidate(probe)
    return probe.byteLength === 0
  } catch {
    return false
  }
}
