import { outOfRange } from '../codec/arguments.js'
import { SocksError } from '../codec/index.js'
import { Tally } from './tally.js'

/** How much a front door takes on. */
export interface LimitOptions {
  /** Connections at a time. Default: no limit. */
  readonly maxConnections?: number | undefined
  /** Connections at a time of one client IP address; clients without an address are not counted. Default: no limit. */
  readonly maxConnectionsPerClient?: number | undefined
  /**
   * Connections at a time that have not come to a whole request. When there are more, the oldest is closed and never the
   * newcomer: stalled handshakes must not lock everybody else out. Default 8,192.
   */
  readonly maxHandshakes?: number | undefined
}

/** Counts the connections of a front door. `T` is one of them. */
export class Limits<T> {
  readonly #options: LimitOptions
  readonly #connections = new Set<T>()
  // In the order in which they came.
  readonly #handshakes = new Set<T>()
  readonly #perClient = new Tally<string>()
  readonly #counted = new Map<T, string>()

  /** @throws RangeError for a limit that is no positive integer. */
  constructor(options: LimitOptions) {
    for (const name of ['maxConnections', 'maxConnectionsPerClient', 'maxHandshakes'] as const) {
      const value = options[name]
      if (value !== undefined && value !== Number.POSITIVE_INFINITY && !(Number.isInteger(value) && value > 0)) {
        throw outOfRange(`option ${name} must be a positive integer`)
      }
    }
    this.#options = options
  }

  get connections(): ReadonlySet<T> {
    return this.#connections
  }

  /** Unfinished handshakes. */
  get handshakes(): number {
    return this.#handshakes.size
  }

  /** The unfinished handshake that has waited longest. */
  get oldestHandshake(): T | undefined {
    const [oldest] = this.#handshakes
    return oldest
  }

  /** Adds a connection. Returns the limit that it exceeds, if it does; it is counted all the same until it is removed. */
  add(connection: T): SocksError | undefined {
    const { maxConnections = Number.POSITIVE_INFINITY } = this.#options
    this.#connections.add(connection)
    if (this.#connections.size > maxConnections) return exceeded('maxConnections')
    this.#handshakes.add(connection)
    return undefined
  }

  /** Whether there is one unfinished handshake too many. */
  get hasTooManyHandshakes(): boolean {
    const { maxHandshakes = 8_192 } = this.#options
    return this.#handshakes.size > maxHandshakes
  }

  /** Says which client a connection is of. Returns the limit that it exceeds, if it does. */
  identify(connection: T, clientAddress: string | undefined): SocksError | undefined {
    const { maxConnectionsPerClient } = this.#options
    if (maxConnectionsPerClient === undefined || clientAddress === undefined) return undefined
    this.#counted.set(connection, clientAddress)
    return this.#perClient.add(clientAddress) > maxConnectionsPerClient
      ? exceeded('maxConnectionsPerClient')
      : undefined
  }

  /** The connection has come to a whole request. */
  finishHandshake(connection: T): void {
    this.#handshakes.delete(connection)
  }

  /** The connection is over; harmless the second time. */
  remove(connection: T): void {
    this.#connections.delete(connection)
    this.#handshakes.delete(connection)
    const clientAddress = this.#counted.get(connection)
    if (clientAddress === undefined) return
    this.#counted.delete(connection)
    this.#perClient.remove(clientAddress)
  }
}

/** What is told of a connection that a limit keeps out. */
export function exceeded(rule: keyof LimitOptions): SocksError {
  return new SocksError('ERR_SOCKS_LIMIT', `${rule} is reached`, { rule })
}
