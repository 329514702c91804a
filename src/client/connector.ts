import type { Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { SocksError } from '../codec/errors.js'
import { Deadline } from '../stream/deadline.js'
import { guard } from '../stream/handover.js'
import {
  bareHost,
  clientFor,
  nodeOptions,
  serverName,
  type Target,
  type TunnelOptions,
  targetOf,
} from './http-options.js'
import { CONNECTOR_HINTS, CONNECTOR_TUNNEL_HINTS } from './option-hints.js'
import type { ProxyLike } from './proxy-url.js'
import { guardIdentity } from './tls-options.js'
import { opened } from './transport.js'

/** What undici asks a connector for. */
export interface ConnectorRequest {
  /** Name or IP literal of the target. */
  readonly hostname: string
  readonly protocol: string
  /** Empty for the port of the protocol. */
  readonly port: string
  readonly host?: string | undefined
  /** The name to ask the target for in TLS, where a request has a Host header of its own. */
  readonly servername?: string | null | undefined
  readonly localAddress?: string | null | undefined
  readonly socketPath?: string | null | undefined
  /** A stream that leads to the target already, to speak TLS on. */
  readonly httpSocket?: Socket | undefined
}

/** The `connect` of undici's `Agent`, `Pool` and `Client`. */
export type SocksConnector = (
  request: ConnectorRequest,
  callback: (...result: [error: null, socket: Socket] | [error: Error, socket: null]) => void,
) => void

/** Options of `tls.connect` for the target, less what the connector sets itself. */
export type ConnectorTlsOptions = Omit<
  ConnectionOptions,
  'host' | 'port' | 'path' | 'socket' | 'lookup' | 'timeout' | 'localAddress'
>

/**
 * For `new Agent({ connect: socksConnector(...) })` of undici 6, 7 and 8, whose dispatchers `fetch` takes. TLS with the target
 * has its name, asks for HTTP/1.1 unless `ALPNProtocols` says otherwise, and resumes no session.
 * @param proxy one proxy, or a chain in the order in which they are passed.
 * @param tlsOptions those of `tls.connect`, for targets of `https`.
 * @param tunnelOptions those of `SocksClient`, less `proxy`. `timeoutMs` (default 30,000) is for all of it, TLS included: undici's own
 * `connectTimeout` does not reach a connector.
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`; TypeError and RangeError for other options. No error quotes a proxy URL.
 */
export function socksConnector(
  proxy: ProxyLike | readonly ProxyLike[],
  tlsOptions: ConnectorTlsOptions = {},
  tunnelOptions: TunnelOptions = {},
): SocksConnector {
  const client = clientFor(proxy, tunnelOptions, CONNECTOR_TUNNEL_HINTS)
  const tls = nodeOptions(tlsOptions, CONNECTOR_HINTS)
  // The client's own default.
  const { timeoutMs = 30_000 } = tunnelOptions

  async function open(request: ConnectorRequest): Promise<Socket> {
    const { hostname, protocol, port, localAddress, socketPath, servername } = request
    const isSecure = protocol === 'https:'
    const target = targetOf({ host: hostname, port, localAddress, socketPath }, isSecure ? 443 : 80)
    const started = performance.now()
    const socket = request.httpSocket ?? (await client.connect(target)).socket
    // As any socket that undici opens by itself.
    socket.allowHalfOpen = false
    if (!isSecure) return alive(socket)
    const left = timeoutMs === 0 ? 0 : Math.max(1, timeoutMs - (performance.now() - started))
    const name = tls.servername ?? servername ?? serverName(hostname)
    return await secure(socket, target, { ...tls, servername: name }, { timeoutMs, left })
  }

  return (request, callback) => {
    // In a turn of its own: what undici throws is not our rejection.
    open(request).then(
      (socket) => process.nextTick(callback, null, socket),
      (error) => process.nextTick(callback, asError(error), null),
    )
  }
}

/** TLS with the target over a tunnel. */
async function secure(
  tunnel: Socket,
  { host, port }: Target,
  options: ConnectionOptions,
  { timeoutMs, left }: { readonly timeoutMs: number; readonly left: number },
): Promise<Socket> {
  let timeout: SocksError | undefined
  let socket: Socket | undefined
  const deadline = new Deadline(left, () => {
    const message = `timed out after ${timeoutMs} ms in the TLS handshake with the target`
    timeout = new SocksError('ERR_SOCKS_TIMEOUT', message, { target: `${host}:${port}` })
    socket?.destroy()
  })
  try {
    socket = connectTls({
      ALPNProtocols: ['http/1.1'],
      ...guardIdentity(options),
      host: bareHost(host),
      socket: tunnel,
    })
    guard(socket)
    await opened(socket, 'secureConnect')
    return alive(socket)
  } catch (error) {
    tunnel.destroy()
    throw timeout ?? error
  } finally {
    deadline.clear()
  }
}

/** A socket that can still tell that it is closed: undici listens from now on. */
function alive(socket: Socket): Socket {
  if (!socket.destroyed) return socket
  const message = 'the connection was closed as soon as it was open'
  throw new SocksError('ERR_SOCKS_CONNECTION_CLOSED', message, { cause: socket.errored ?? undefined })
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error('the tunnel failed', { cause: error })
}
