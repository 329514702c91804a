import { channel } from 'node:diagnostics_channel'
import { EventEmitter } from 'node:events'
import type { ServerEvents } from './events.js'

/** What a front door has done so far, and does now. */
export interface ServerStats {
  /** Open connections, whatever they wait for. */
  readonly connections: number
  /** Of them, those that have not come to a whole request. */
  readonly handshakes: number
  /** Of them, BIND listeners that wait for their peer. */
  readonly listening: number
  /** Of them, those that a UDP association lives with. */
  readonly associations: number
  /** Of them, open tunnels. */
  readonly tunnels: number
  /** Connections since the start. */
  readonly accepted: number
  /** Tunnels and associations opened and look-ups answered since the start. */
  readonly established: number
  /** Denials since the start: by a verifier, a rule or a limit. */
  readonly denied: number
  /** Connections that ended without a tunnel or an answer since the start, denials and health checks included. */
  readonly failed: number
  /** Bytes from clients to targets since the start, those of open tunnels included. */
  readonly bytesUp: number
  /** Bytes from targets to clients since the start. */
  readonly bytesDown: number
}

/** Where one connection of a front door stands. */
export type Stage = 'handshake' | 'request' | 'listening' | 'association' | 'tunnel' | 'answered'

const CHANNELS = {
  session: channel('tubesock:session'),
  request: channel('tubesock:request'),
  listening: channel('tubesock:listening'),
  established: channel('tubesock:established'),
  denied: channel('tubesock:denied'),
  closed: channel('tubesock:closed'),
  error: channel('tubesock:error'),
} as const

/** Tells the application what happens: by events, by `node:diagnostics_channel`, and in numbers. */
export class Monitor {
  readonly #emitter: EventEmitter<ServerEvents>
  readonly #stages: Record<Stage, number> = {
    handshake: 0,
    request: 0,
    listening: 0,
    association: 0,
    tunnel: 0,
    answered: 0,
  }
  accepted = 0
  established = 0
  denied = 0
  failed = 0
  bytesUp = 0
  bytesDown = 0

  /** `emitter`: the front door itself. */
  constructor(emitter: EventEmitter<ServerEvents>) {
    this.#emitter = emitter
  }

  /** How many connections stand at a stage. */
  at(stage: Stage): number {
    return this.#stages[stage]
  }

  /** A connection has come to a stage, from another or from nothing; or it has ended. */
  move(from: Stage | undefined, to: Stage | undefined): void {
    if (from !== undefined) this.#stages[from]--
    if (to !== undefined) this.#stages[to]++
  }

  /** Whether anybody listens: what nobody hears need not be put together. */
  hears(name: keyof ServerEvents): boolean {
    return CHANNELS[name].hasSubscribers || this.#emitter.listenerCount(name) > 0
  }

  /**
   * Emits an event. A listener that throws must not unwind a connection half-way: its error is thrown, as Node does with
   * errors of listeners, but in a turn of its own.
   */
  tell<Name extends keyof ServerEvents>(name: Name, ...args: ServerEvents[Name]): void {
    const { hasSubscribers } = CHANNELS[name]
    if (hasSubscribers) CHANNELS[name].publish(this.#message(name, args))
    if (this.#emitter.listenerCount(name) === 0) return
    try {
      EventEmitter.prototype.emit.call(this.#emitter, name, ...args)
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
  }

  /** One object for a channel: the event's argument, with the server that it is of. */
  #message(name: keyof ServerEvents, [first, second]: readonly unknown[]): object {
    const server = this.#emitter
    if (name === 'session') return { server, session: first }
    if (name === 'error') return { server, error: first, session: second }
    return { ...Object(first), server }
  }
}
