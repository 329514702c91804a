import type { Destination, SocksError } from '../codec/index.js'
import type { ClientConnection } from './client-connection.js'
import {
  type CloseReason,
  type EstablishedInfo,
  isDenial,
  isFault,
  type ListeningInfo,
  type Observer,
  type RequestInfo,
} from './events.js'
import { exceeded, type Limits, type Ticket } from './limits.js'
import type { Monitor, Stage } from './monitor.js'
import type { ServerSideSession } from './session.js'

/** Where a connection stands once its request is granted; all others are tunnels. */
const STAGES: Readonly<Partial<Record<RequestInfo['command'], Stage>>> = {
  udp: 'association',
  // The answer to a look-up ends its connection.
  resolve: 'answered',
  'resolve-ptr': 'answered',
}

/** Turns what one connection tells into events and numbers. */
export class ConnectionObserver implements Observer {
  readonly #monitor: Monitor
  readonly #limits: Limits<ClientConnection>
  readonly #session: ServerSideSession
  readonly #onEmpty: () => void
  #ticket: Ticket<ClientConnection> | undefined
  #isTold = false
  #isEstablished = false
  #stage: Stage | undefined

  /** `onEmpty`: called when the last connection has gone. */
  constructor(monitor: Monitor, limits: Limits<ClientConnection>, session: ServerSideSession, onEmpty: () => void) {
    this.#monitor = monitor
    this.#limits = limits
    this.#session = session
    this.#onEmpty = onEmpty
    monitor.accepted++
    this.#moveTo('handshake')
  }

  /** Counts the connection that is observed. Returns the limit that it exceeds, if it does. */
  attach(connection: ClientConnection): SocksError | undefined {
    this.#ticket = this.#limits.add(connection)
    return this.#limits.hasTooManyConnections ? exceeded('maxConnections') : undefined
  }

  identified(): SocksError | undefined {
    this.#tellSession()
    if (this.#ticket === undefined) return undefined
    const limit = this.#limits.identify(this.#ticket, this.#session.clientAddress)
    if (limit !== undefined) this.denied(limit)
    return limit
  }

  requested(): void {
    if (this.#ticket !== undefined) this.#limits.finishHandshake(this.#ticket)
    this.#moveTo('request')
  }

  request(info: RequestInfo): void {
    this.#monitor.tell('request', info)
  }

  listening(info: ListeningInfo): void {
    this.#moveTo('listening')
    this.#monitor.tell('listening', info)
  }

  established(info: EstablishedInfo): void {
    this.#moveTo(STAGES[info.command] ?? 'tunnel')
    this.#isEstablished = true
    this.#monitor.established++
    this.#monitor.tell('established', info)
  }

  denied(error: SocksError, denied?: Destination): void {
    const { identity, command, destination } = this.#session
    this.#tellSession()
    this.#monitor.denied++
    const { rule = error.code } = error
    const session = this.#session
    this.#monitor.tell('denied', { session, identity, command, destination: denied ?? destination, rule, error })
  }

  refused(error: SocksError): void {
    if (isFault(error)) this.#monitor.tell('error', error, this.#session)
    if (isDenial(error)) this.denied(error)
  }

  closed(reason: CloseReason, error: Error | undefined): void {
    const { bytesUp, bytesDown } = this.#session
    if (this.#ticket !== undefined) this.#limits.remove(this.#ticket)
    this.#tellSession()
    if (reason !== 'fallback' && !this.#isEstablished) this.#monitor.failed++
    this.#moveTo(undefined)
    this.#monitor.bytesUp += bytesUp
    this.#monitor.bytesDown += bytesDown
    if (this.#monitor.hears('closed')) {
      const session = this.#session
      const { identity, command, destination, durationMs } = session
      this.#monitor.tell('closed', {
        session,
        identity,
        command,
        destination,
        bytesUp,
        bytesDown,
        durationMs,
        reason,
        error,
      })
    }
    if (this.#limits.size === 0) this.#onEmpty()
  }

  /** Once, and before anything else is told of the session. */
  #tellSession(): void {
    if (this.#isTold) return
    this.#isTold = true
    this.#monitor.tell('session', this.#session)
  }

  #moveTo(stage: Stage | undefined): void {
    this.#monitor.move(this.#stage, stage)
    this.#stage = stage
  }
}
