import type { Duplex } from 'node:stream'
import { Deadline } from './deadline.js'
import { Direction } from './direction.js'
import { guard } from './handover.js'
import { reset } from './reset.js'
import type { ReusedReader } from './reused-reader.js'

/** Options of {@link relay}. */
export interface RelayOptions {
  /**
   * Milliseconds without a byte after one side has sent its FIN, then both are destroyed; 0 is never. Default 120,000:
   * without it a peer that vanishes after a half-close holds two descriptors for ever.
   */
  readonly drainTimeoutMs?: number | undefined
  /** Milliseconds without a byte in either direction, then both are destroyed; 0 is never, the default. */
  readonly idleTimeoutMs?: number | undefined
}

/**
 * How a relay ended. `end`: both sides sent FIN and all was delivered. `reset`: `error` (or, without one, a `destroy()`)
 * ended one side, and was passed on to the other. `drain-timeout`, `idle-timeout`: see {@link RelayOptions}. `destroyed`: by
 * `destroy()` of the relay.
 */
export interface RelayEnd {
  readonly reason: 'end' | 'reset' | 'drain-timeout' | 'idle-timeout' | 'destroyed'
  readonly error?: Error | undefined
}

/**
 * What the owner of both streams knows of them. `early`: bytes of the first that were read already. `reader`: the second was
 * dialed with it; nobody but this library has or ever had the two, the first is a `net.Socket` that was accepted.
 */
export interface RelayInside {
  readonly early?: readonly Uint8Array[] | undefined
  readonly reader?: ReusedReader | undefined
  /** Called at the end, in place of `closed`: a promise and its reaction are memory of every idle tunnel. */
  readonly onEnd?: ((end: RelayEnd) => void) | undefined
}

/** setTimeout takes what does not fit 31 bits for one millisecond. */
function assertMilliseconds(value: number, name: string): void {
  if (typeof value === 'number' && value >= 0 && value <= 0x7fff_ffff) return
  const error = new RangeError(`option ${name} must be a number of milliseconds from 0 to 2147483647`)
  throw Object.assign(error, { code: 'ERR_OUT_OF_RANGE' })
}

/**
 * Joins two streams until both have ended, with backpressure and half-close: the FIN of one side is passed on after
 * its last byte while the other side goes on talking. Takes both streams over, sets `allowHalfOpen` on them (a stream
 * without it loses what is sent after the other side's FIN), and destroys them at the end.
 * @throws RangeError `ERR_OUT_OF_RANGE` for milliseconds that no timer takes; the streams are then untouched.
 */
export function relay(a: Duplex, b: Duplex, options: RelayOptions = {}): Relay {
  return new Relay(a, b, options)
}

/** Two streams joined by {@link relay}. */
export class Relay {
  readonly #up: Direction
  readonly #down: Direction
  readonly #drainTimeoutMs: number
  #drain: Deadline | undefined
  #idle: Deadline | undefined
  #tell: ((end: RelayEnd) => void) | undefined
  #end: RelayEnd | undefined
  #closed: Promise<RelayEnd> | undefined

  /** Use {@link relay}. `inside` is for callers within this library. */
  constructor(a: Duplex, b: Duplex, options: RelayOptions, inside: RelayInside = {}) {
    const { drainTimeoutMs = 120_000, idleTimeoutMs = 0 } = options
    assertMilliseconds(drainTimeoutMs, 'drainTimeoutMs')
    assertMilliseconds(idleTimeoutMs, 'idleTimeoutMs')
    this.#drainTimeoutMs = drainTimeoutMs
    if (idleTimeoutMs > 0) this.#idle = new Deadline(idleTimeoutMs, () => this.#finish({ reason: 'idle-timeout' }))
    const { early = NOTHING, reader, onEnd } = inside
    // What has a reader was made half-open and guarded.
    if (reader === undefined) {
      for (const stream of [a, b]) {
        guard(stream)
        stream.allowHalfOpen = true
      }
    }
    this.#tell = onEnd
    this.#up = new Direction(a, b, this, reader !== undefined, undefined)
    this.#down = new Direction(b, a, this, reader !== undefined, reader)
    this.#up.start(early)
    this.#down.start(NOTHING)
  }

  /** Settles once, when both streams are done with. Never rejects. */
  get closed(): Promise<RelayEnd> {
    this.#closed ??= new Promise((resolve) => {
      if (this.#end === undefined) this.#tell = resolve
      else resolve(this.#end)
    })
    return this.#closed
  }

  /** Bytes of the first stream that the second has taken: of a socket, those that were handed to the system. */
  get bytesUp(): number {
    return this.#up.bytes
  }

  /** Bytes of the second stream that the first has taken. */
  get bytesDown(): number {
    return this.#down.bytes
  }

  /** Ends both streams at once, dropping what is under way. */
  destroy(): void {
    this.#finish({ reason: 'destroyed' })
  }

  /** @internal A direction has moved bytes. */
  onProgress(): void {
    this.#drain?.refresh()
    this.#idle?.refresh()
  }

  /** @internal A direction has seen its source's FIN. */
  onHalfClosed(): void {
    this.#drain ??= new Deadline(this.#drainTimeoutMs, () => this.#finish({ reason: 'drain-timeout' }))
    this.onProgress()
  }

  /** @internal A direction has delivered everything, FIN included. */
  onDelivered(): void {
    if (this.#up.delivered && this.#down.delivered) this.#finish({ reason: 'end' })
  }

  /** @internal Whether all but this direction is done. */
  isLast(direction: Direction): boolean {
    return (direction === this.#up ? this.#down : this.#up).delivered
  }

  /** @internal A stream failed, or was destroyed before its time. */
  onBroken(error: Error | undefined): void {
    this.#finish({ reason: 'reset', error })
  }

  #finish(end: RelayEnd): void {
    if (this.#end !== undefined) return
    this.#end = end
    this.#drain?.clear()
    this.#idle?.clear()
    for (const direction of [this.#up, this.#down]) {
      direction.stop()
      if (end.reason === 'end') direction.source.destroy()
      else reset(direction.source)
    }
    this.#tell?.(end)
  }
}

const NOTHING: readonly Uint8Array[] = []
