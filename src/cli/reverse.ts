import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BoundListener, SocksClient } from '../client/index.js'
import { type Destination, formatDestination, isSocksError, parseDestination } from '../codec/index.js'
import { type Relay, relay } from '../server/index.js'

/** A proxy that has failed is asked again after this time, in milliseconds. */
const RETRY_MS = 1_000

/** What a {@link ReverseForward} tells. */
export interface ReverseEvents {
  /** The proxy listens, at an address that was not told before. */
  onListening(address: string): void
  onError(error: unknown): void
}

/**
 * `ssh -R` by BIND: has the proxy listen, takes each peer to a target on this side, and asks again. A listener of BIND is
 * for one peer: between two of them nobody listens, and where the proxy does not grant the port, it is another each time.
 */
export class ReverseForward {
  readonly #client: SocksClient
  readonly #port: number
  readonly #target: Destination
  readonly #events: ReverseEvents
  readonly #relays = new Set<Relay>()
  readonly #stop = new AbortController()
  #listener: BoundListener | undefined
  #told = ''

  /** `port`: the one that the proxy is asked for; 0 is any. */
  constructor(client: SocksClient, port: number, target: Destination, events: ReverseEvents) {
    this.#client = client
    this.#port = port
    this.#target = target
    this.#events = events
  }

  /** Resolves when the proxy listens for the first time; rejects when it does not. */
  async start(): Promise<void> {
    await this.#listen()
    void this.#serve()
  }

  /** Listens no more; resolves when the connections have ended, or `graceMs` are over. */
  async close(graceMs: number): Promise<void> {
    this.#stop.abort()
    this.#listener?.close()
    const ended = Promise.all([...this.#relays].map(({ closed }) => closed))
    await Promise.race([ended, sleep(graceMs, undefined, { ref: false })])
    for (const open of this.#relays) open.destroy()
  }

  async #listen(): Promise<void> {
    const { signal } = this.#stop
    const listener = await this.#client.bind({ host: '0.0.0.0', port: this.#port, signal })
    this.#listener = listener
    if (signal.aborted) listener.close()
    const { host, port } = listener.address
    const address = formatDestination(parseDestination(host, port))
    if (address === this.#told) return
    this.#told = address
    this.#events.onListening(address)
  }

  async #serve(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        const accepted = await this.#listener?.accept({ signal })
        if (accepted !== undefined) this.#join(accepted.socket)
      } catch (error) {
        this.#fail(error)
      }
      while (!signal.aborted && !(await this.#listenAgain()));
    }
  }

  async #listenAgain(): Promise<boolean> {
    try {
      await this.#listen()
      return true
    } catch (error) {
      this.#fail(error)
      await sleep(RETRY_MS, undefined, { signal: this.#stop.signal }).catch(() => {})
      return false
    }
  }

  /** The target is connected to while the peer talks already: the relay keeps what it says. */
  #join(peer: Parameters<typeof relay>[0]): void {
    const { host, port } = this.#target
    const target: Socket = connect({ host, port, allowHalfOpen: true, noDelay: true, keepAlive: true })
    const joined = relay(peer, target)
    this.#relays.add(joined)
    void joined.closed.then(({ error }) => {
      this.#relays.delete(joined)
      if (error !== undefined && target.bytesWritten === 0) this.#fail(error)
    })
  }

  #fail(error: unknown): void {
    // A proxy gives up waiting after a while; that is what asking again is for.
    const isImpatience = isSocksError(error) && error.code === 'ERR_SOCKS_TTL_EXPIRED'
    if (!isImpatience && !this.#stop.signal.aborted) this.#events.onError(error)
  }
}
