import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { withoutZone } from '../codec/destination.js'
import {
  canonicalIP,
  type Destination,
  encodeProxyHeader,
  type ProxyEndpoint,
  ReplyCode,
  replyError,
  type SocksError,
} from '../codec/index.js'
import type { Arrival } from './arrival.js'
import { NOBODY } from './authenticate.js'
import { untilCancelled } from './cancellation.js'
import { ClientConnection } from './client-connection.js'
import type { CloseReason } from './events.js'
import type { ForwardSettings } from './forward-server.js'
import { checkedTarget } from './forward-target.js'
import { hookError } from './operation.js'

/** One client of a forward server: it says nothing, it is taken to its target. */
export class ForwardConnection extends ClientConnection {
  readonly #settings: ForwardSettings

  constructor(arrival: Arrival, settings: ForwardSettings) {
    // A function that chooses the target is shown the socket, and may do with it what it likes.
    super({ ...arrival, isOwn: arrival.isOwn && typeof settings.target !== 'function' }, settings)
    this.#settings = settings
  }

  /** Nothing is read of a client but the header of a proxy in front: the rest is its target's. */
  protected override step(): boolean {
    // Not before somebody listens for its data: a client that resets is noticed all the same.
    this.judge(new Uint8Array(0), () => this.#forward())
    return false
  }

  protected override reasonFor({ code }: SocksError): CloseReason {
    return code === 'ERR_SOCKS_HANDSHAKE_TIMEOUT' ? 'handshake-timeout' : 'refused'
  }

  /** There is no way to say no but to close. */
  protected override answerTo(): undefined {
    return undefined
  }

  async #forward(): Promise<void> {
    const { session } = this
    session.identity = NOBODY
    const destination = await this.#chooseTarget()
    if (this.phase !== 'judging') return
    this.clearDeadline()
    session.command = 'connect'
    session.destination = destination
    // From here on there is something to wait for, whether or not the client has said anything.
    this.sawBytes = true
    this.observer.requested()
    const { clientAddress, identity } = session
    const info = { session, command: 'connect', identity, destination } as const
    this.observer.request(info)
    const { host, port } = destination
    const reader = this.readerFor()
    const way = await this.#settings.outbound.connectBy(reader, { host, port, clientAddress, identity, session })
    if (this.phase !== 'judging') {
      way.stream.destroy()
      return
    }
    this.#introduce(way.stream)
    this.open(way.stream, { ...info, bound: way.bound, rules: way.rules }, reader)
  }

  async #chooseTarget(): Promise<Destination> {
    const { target } = this.#settings
    if (typeof target !== 'function') return target
    const { gone } = this.session
    try {
      const chosen = await untilCancelled(gone, () => target(this.stream, this.session))
      if (chosen !== undefined) return checkedTarget(chosen)
    } catch (error) {
      throw gone.isCancelled ? error : hookError('target', error, ReplyCode.generalFailure)
    }
    throw replyError(ReplyCode.notAllowed, 'no target for this client', { rule: 'target' })
  }

  /** Tells the target who the client is, before the client's own bytes. */
  #introduce(target: Duplex): void {
    const { sendProxyHeader: version } = this.#settings
    if (version === undefined) return
    const source = endpoint(this.session.clientAddress, this.session.clientPort)
    const near = this.stream instanceof Socket ? this.stream : undefined
    // Who the client is matters more than where it came in: a stream that is no socket must not make it UNKNOWN.
    const nowhere = source?.host.includes(':') ? '::' : '0.0.0.0'
    const destination = endpoint(near?.localAddress, near?.localPort) ?? { host: nowhere, port: 0 }
    const header = {
      version,
      command: 'proxy',
      tlvs: [],
      ...(source === undefined ? {} : { source, destination }),
    } as const
    target.write(encodeProxyHeader(header))
  }
}

function endpoint(address: string | undefined, port: number | undefined): ProxyEndpoint | undefined {
  const literal = canonicalIP(withoutZone(address ?? ''))
  return literal === undefined ? undefined : { host: literal.host, port: port ?? 0 }
}
