import { outOfRange } from '../codec/arguments.js'
import { SocksError } from '../codec/index.js'
import { type Entry, Roster } from './roster.js'
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

/** A connection as it is counted. */
export class Ticket<T> {
  readonly connection: T
  /** @internal */ readonly place: Entry<T>
  /** @internal Until it has come to a whole request. */ handshake: Entry<Ticket<T>> | undefined
  /** @internal Whose it is, where that is counted. */ clientAddress: string | undefined

  constructor(connection: T, place: Entry<T>) {
    this.connection = connection
    this.place = place
  }
}

/** Counts the connections of a front door. `T` is one of them. */
export class Limits<T> {
  readonly #options: LimitOptions
  readonly #connections = new Roster<T>()
  readonly #handshakes = new Roster<Ticket<T>>()
  readonly #perClient = new Tally<string>()

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

  /** How many connections there are. */
  get size(): number {
    return this.#connections.size
  }

  /** All connections, as they are now. */
  get connections(): readonly T[] {
    return this.#connections.values()
  }

  /** Unfinished handshakes. */
  get handshakes(): number {
    return this.#handshakes.size
  }

  /** The unfinished handshake that has waited longest. */
  get oldestHandshake(): Ticket<T> | undefined {
    return this.#handshakes.first
  }

  /** Counts a connection, until it is removed. */
  add(connection: T): Ticket<T> {
    const ticket = new Ticket(connection, this.#connections.add(connection))
    ticket.handshake = this.#handshakes.add(ticket)
    return ticket
  }

  /** Whether there is one connection too many. */
  get hasTooManyConnections(): boolean {
    const { maxConnections = Number.POSITIVE_INFINITY } = this.#options
    return this.#connections.size > maxConnections
  }

  /** Whether there is one unfinished handshake too many. */
  get hasTooManyHandshakes(): boolean {
    const { maxHandshakes = 8_192 } = this.#options
    return this.#handshakes.size > maxHandshakes
  }

  /** Says which client a connection is of. Returns the limit that it exceeds, if it does. */
  identify(ticket: Ticket<T>, clientAddress: string | undefined): SocksError | undefined {
    const { maxConnectionsPerClient } = this.#options
    if (maxConnectionsPerClient === undefined || clientAddress === undefined) return undefined
    ticket.clientAddress = clientAddress
    return this.#perClient.add(clientAddress) > maxConnectionsPerClient
      ? exceeded('maxConnectionsPerClient')
      : undefined
  }

  /** The connection has come to a whole request. */
  finishHandshake(ticket: Ticket<T>): void {
    if (ticket.handshake === undefined) return
    this.#handshakes.remove(ticket.handshake)
    ticket.handshake = undefined
  }

  /** The connection is over; harmless the second time. */
  remove(ticket: Ticket<T>): void {
    this.finishHandshake(ticket)
    this.#connections.remove(ticket.place)
    if (ticket.clientAddress === undefined) return
    this.#perClient.remove(ticket.clientAddress)
    ticket.clientAddress = undefined
  }
}

/** What is told of a connection that a limit keeps out. */
export function exceeded(rule: keyof LimitOptions): SocksError {
  return new SocksError('ERR_SOCKS_LIMIT', `${rule} is reached`, { rule })
}
