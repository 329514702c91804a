import { once } from 'node:events'
import { createServer, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { isUnspecified, withoutZone } from '../codec/destination.js'
import { canonicalIP, ReplyCode, replyError } from '../codec/index.js'
import { guard } from '../stream/handover.js'
import type { AcceptedPeer, BindListener, BindSettings, HostAndPort } from './bind-options.js'
import type { Candidate } from './dial.js'
import { advertised, noAddress, routeTo } from './reachable.js'

/** What a listener for one peer depends on. */
export interface PeerListenerRequest {
  /** Where the peer may come from; `undefined` is anywhere. */
  readonly peers: readonly Candidate[] | undefined
  /** DST.PORT. */
  readonly port: number
  /** SOCKS4 can tell IPv4 addresses alone. */
  readonly version: 4 | 5
  /** The client's stream: where it reached this server, others may, too. */
  readonly control: Duplex
  /** Address that everything leaves from, where one is set. */
  readonly localAddress: string | undefined
}

/** Peers that have connected and wait to be judged; further ones are turned away. */
const MAX_WAITING = 16

/** Listens for peers, before the client is told where. Rejects with a SocksError, or the system's error. */
export async function openPeerListener(settings: BindSettings, request: PeerListenerRequest): Promise<BindListener> {
  const reachable = await reachableHost(settings, request)
  const host = settings.host ?? reachable
  const listener = new PeerListener()
  const port = await listenOnFirst(listener, host, portsOf(settings, request.port))
  const bound = { host: isUnspecified(host) ? reachable : host, port }
  try {
    listener.address = advertised(settings.advertise, bound)
  } catch (error) {
    listener.close()
    throw error
  }
  return listener
}

/** A listener whose peers are taken one by one. */
class PeerListener implements BindListener {
  address: HostAndPort = { host: '0.0.0.0', port: 0 }
  // exclusive, at listen: workers of a cluster would share the port, and get each other's peers.
  readonly #server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (socket) =>
    this.#add(socket),
  )
  readonly #waiting: AcceptedPeer[] = []
  #wanted: ((peer: AcceptedPeer) => void) | undefined
  #closed = false

  async listen(host: string, port: number): Promise<number> {
    this.#server.listen({ host, port, exclusive: true, backlog: MAX_WAITING })
    await once(this.#server, 'listening')
    // A failing accept concerns a peer, who may try again.
    this.#server.on('error', () => {})
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : port
  }

  accept(): Promise<AcceptedPeer> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      if (!next.socket.destroyed) return Promise.resolve(next)
    }
    return new Promise((resolve) => {
      this.#wanted = resolve
    })
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#server.close()
    for (const { socket } of this.#waiting.splice(0)) socket.destroy()
  }

  #add(socket: Socket): void {
    guard(socket)
    const peer = remoteEnd(socket)
    // A peer that was reset before it was looked at has no address any more.
    if (this.#closed || peer === undefined || this.#waiting.length >= MAX_WAITING) {
      socket.destroy()
      return
    }
    const wanted = this.#wanted
    this.#wanted = undefined
    if (wanted === undefined) this.#waiting.push({ socket, peer })
    else wanted({ socket, peer })
  }
}

async function listenOnFirst(listener: PeerListener, host: string, ports: Iterable<number>): Promise<number> {
  let failure: unknown = replyError(ReplyCode.notAllowed, 'the port is outside bind.portRange', {
    rule: 'bind.portRange',
  })
  for (const port of ports) {
    try {
      return await listener.listen(host, port)
    } catch (error) {
      failure = error
      if (!(error instanceof Error) || Reflect.get(error, 'code') !== 'EADDRINUSE') break
    }
  }
  throw failure
}

/** Ports to try, in their order. */
function* portsOf({ port, portRange }: BindSettings, requested: number): Iterable<number> {
  const isWish = port === 'requested' && requested !== 0
  if (portRange === undefined) {
    yield isWish ? requested : 0
    return
  }
  const [first, last] = portRange
  if (isWish) {
    if (requested >= first && requested <= last) yield requested
    return
  }
  // From a random place on: a port that a peer of before still knows is not at once somebody else's.
  const count = last - first + 1
  const start = Math.floor(Math.random() * count)
  for (let step = 0; step < count; step++) yield first + ((start + step) % count)
}

/** An address of this host that the peer can connect to, as far as can be known from here. */
async function reachableHost(
  { host, advertise }: BindSettings,
  { peers, version, control, localAddress }: PeerListenerRequest,
): Promise<string> {
  const candidates = version === 4 ? peers?.filter(({ type }) => type === 'ipv4') : peers
  const [peer] = candidates ?? []
  if (candidates !== undefined && peer === undefined) throw noAddress()
  const family = peer?.type ?? (version === 4 ? 'ipv4' : undefined)
  const given = host !== undefined && !isUnspecified(host) ? host : localAddress
  if (given !== undefined) return ofFamily(given, family)
  if (peer !== undefined) return await routeTo(peer)
  const near = control instanceof Socket ? control.localAddress : undefined
  // Where an address is told in its place, any will do.
  return ofFamily(near ?? '127.0.0.1', advertise === undefined ? family : undefined)
}

function ofFamily(host: string, family: Candidate['type'] | undefined): string {
  const literal = canonicalIP(withoutZone(host))
  if (literal === undefined || (family !== undefined && literal.type !== family)) throw noAddress()
  return literal.host
}

function remoteEnd({ remoteAddress, remotePort }: Socket): HostAndPort | undefined {
  return remoteAddress === undefined || remotePort === undefined
    ? undefined
    : { host: withoutZone(remoteAddress), port: remotePort }
}
