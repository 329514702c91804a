import { Agent, type AgentOptions, type RequestOptions } from 'node:https'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { guard } from '../stream/handover.js'
import type { SocksClient } from './client.js'
import { callingScheme } from './http-caller.js'
import { bareHost, clientFor, nodeOptions, serverName, type TunnelOptions, targetOf } from './http-options.js'
import { type NetArguments, netArguments } from './net-arguments.js'
import { AGENT_TUNNEL_HINTS } from './option-hints.js'
import { splitName, type TlsRequestOptions } from './pool-name.js'
import type { ProxyLike } from './proxy-url.js'
import { guardIdentity } from './tls-options.js'
import { TunnelSocket } from './tunnel-socket.js'

/** Options of Node's own `https.Agent`, those of `tls.connect` for the target among them, less what a proxy cannot do. */
export type SocksAgentOptions = Omit<
  AgentOptions,
  'host' | 'port' | 'path' | 'socketPath' | 'socket' | 'lookup' | 'localAddress'
>

/** Each agent's pool begins with a number of its own: keys of `agent.sockets` are printed, so no credentials are in them. */
let agents = 0

/**
 * An agent for `http` and for `https` whose connections go through SOCKS proxies.
 *
 * Everything else is Node's own agent: `keepAlive`, `maxSockets`, `timeout`, the cache of TLS sessions. What a request gets is
 * there at once and waits for its tunnel: destroying the request, or the agent, ends the handshake with the proxy.
 */
export class SocksAgent extends Agent {
  readonly #client: SocksClient
  readonly #name: string

  /**
   * @param proxy one proxy, or a chain in the order in which they are passed.
   * @param agentOptions Node's own. Unknown ones are Node's business.
   * @param tunnelOptions those of `SocksClient`, as `timeoutMs`, less `proxy`. With `isolate` each connection has credentials of its
   * own, and no TLS session is taken from one to the next.
   * @throws SocksError `ERR_SOCKS_INVALID_PROXY`; TypeError and RangeError for other options. No error quotes a proxy URL.
   */
  constructor(
    proxy: ProxyLike | readonly ProxyLike[],
    agentOptions: SocksAgentOptions = {},
    tunnelOptions: TunnelOptions = {},
  ) {
    const client = clientFor(proxy, tunnelOptions, AGENT_TUNNEL_HINTS)
    const options = nodeOptions(agentOptions)
    // A session that is resumed tells the target who was there before.
    super(tunnelOptions.isolate ? { ...options, maxCachedSessions: 0 } : options)
    // What newer Nodes set here would overwrite what a request says.
    for (const key of ['protocol', 'defaultPort']) Reflect.deleteProperty(this.options, key)
    this.#client = client
    this.#name = `socks-${++agents}`
    const protocol = (): string | undefined => callingScheme(protocol)
    const defaultPort = (): number => (callingScheme(defaultPort) === 'https:' ? 443 : 80)
    Object.defineProperties(this, {
      protocol: { get: protocol, configurable: true },
      defaultPort: { get: defaultPort, configurable: true },
    })
  }

  /** The key of a pool: this agent, which has one proxy and one set of credentials; the origin; all that TLS is told. */
  override getName(options: TlsRequestOptions = {}): string {
    const scheme = isSecure(options) ? 'https' : 'http'
    const { plain, rest } = splitName(options)
    return `${this.#name}:${scheme}:${super.getName(plain)}:${rest}`
  }

  /**
   * A stream to `host` and `port` that is there before its tunnel is; it emits `'connect'`. With `protocol: 'https:'` it
   * is a `TLSSocket`, and emits `'secureConnect'`. A failure is its `'error'`. It is no part of the pool.
   *
   * Node calls this for each new connection, with a callback that is told of options which TLS does not take. A port and a
   * host may stand before the options, or in their place, as in `net.createConnection`.
   * @throws what `tls.connect` throws for its options, where there is no callback; TypeError for neither a port nor options.
   */
  override createConnection(options: RequestOptions): Duplex
  override createConnection(port: number, host?: string, options?: RequestOptions): Duplex
  override createConnection(
    options: RequestOptions,
    callback: ((error: Error | null, stream: Duplex) => void) | undefined,
  ): Duplex | undefined
  override createConnection(...given: NetArguments): Duplex | undefined {
    const { asked, callback } = netArguments(given)
    const options: RequestOptions & { allowHalfOpen?: boolean } = { ...this.options, ...asked }
    const { allowHalfOpen = false, timeout = 0 } = options
    const tunnel = new TunnelSocket((signal) => this.#open(options, signal), { allowHalfOpen })
    try {
      const socket = isSecure(options) ? this.#secure(options, tunnel) : tunnel
      // TLS that cannot even begin tells so before anybody can listen.
      if (socket.errored !== null) throw socket.errored
      if (timeout > 0) socket.setTimeout(timeout)
      return socket
    } catch (error) {
      tunnel.destroy()
      if (callback === undefined) throw error
      // Told of an error, Node would not go on to the requests that wait for their turn; of a stream that closes it does.
      return new TunnelSocket(() => Promise.reject(error))
    }
  }

  async #open(options: RequestOptions, signal: AbortSignal): Promise<Duplex> {
    const target = targetOf(options, isSecure(options) ? 443 : 80)
    return (await this.#client.connect({ ...target, signal })).socket
  }

  #secure(options: RequestOptions, tunnel: TunnelSocket): TLSSocket {
    // A host that is no text is told of by the tunnel.
    const host = bareHost(String(options.host || 'localhost'))
    // Node sets the name for its own requests, by their Host header.
    const { servername = serverName(host) } = options
    const tls = { ...guardIdentity(options), host, servername, socket: tunnel }
    const socket = super.createConnection(tls as RequestOptions) // of tls.connect
    if (!(socket instanceof TLSSocket)) throw new TypeError('https.Agent made something else than a TLSSocket')
    guard(socket)
    standIn(tunnel, socket)
    return socket
  }
}

/** TLS over a stream of JavaScript has no address, and no handle that keeps the process alive or not: the tunnel's are its own. */
function standIn(tunnel: TunnelSocket, socket: TLSSocket): void {
  for (const name of ['ref', 'unref', 'setKeepAlive', 'setNoDelay'] as const) {
    socket[name] = (...values: [boolean?, number?]) => {
      tunnel[name](...values)
      return socket
    }
  }
  const addresses = ['remoteAddress', 'remotePort', 'remoteFamily', 'localAddress', 'localPort', 'localFamily'] as const
  for (const name of addresses) Object.defineProperty(socket, name, { get: () => tunnel[name], configurable: true })
  socket.address = () => tunnel.address()
}

/** `https.request` alone names a default agent of its own. */
function isSecure({ _defaultAgent, protocol }: RequestOptions): boolean {
  return _defaultAgent !== undefined || protocol === 'https:'
}
