import { isIP } from 'node:net'
import { assertOptions, invalidArgument } from '../codec/arguments.js'
import { SocksClient, type SocksClientOptions, TUNNEL_KEYS } from './client.js'
import { type Hints, NODE_HINTS } from './option-hints.js'
import type { ProxyLike } from './proxy-url.js'

/** How to go through the proxies: everything that a `SocksClient` takes beside them. */
export type TunnelOptions = Omit<SocksClientOptions, 'proxy'>

/** A client for an agent or a connector, each with its hints. @throws as the constructor of `SocksClient` does. */
export function clientFor(proxy: ProxyLike | readonly ProxyLike[], options: TunnelOptions, hints: Hints): SocksClient {
  assertOptions(options, TUNNEL_KEYS, hints)
  return new SocksClient({ ...options, proxy })
}

/**
 * A copy of options that are handed to Node. Which ones it knows is Node's business; those that would be lost without
 * a word, or lead beside the proxy, are refused.
 * @throws TypeError `ERR_INVALID_ARG_VALUE`.
 */
export function nodeOptions<Options extends object>(options: Options, hints: Hints = {}): Options {
  if (typeof options !== 'object' || options === null) throw invalidArgument('options must be an object')
  for (const [key, value] of Object.entries(options)) {
    const table = [hints, NODE_HINTS].find((known) => Object.hasOwn(known, key))
    if (table !== undefined && value !== undefined) throw invalidArgument(`option ${key}: ${table[key]}`)
  }
  return { ...options }
}

/** What a request says of where it goes, and what it says that no proxy can do. */
export interface Asked {
  readonly host?: string | null | undefined
  readonly port?: number | string | null | undefined
  readonly localAddress?: string | null | undefined
  readonly socketPath?: string | null | undefined
}

/** Where a request goes. @throws TypeError `ERR_INVALID_ARG_VALUE` for one that names a way of its own. */
export function targetOf({ host, port, localAddress, socketPath }: Asked, defaultPort: number): Target {
  if (socketPath) throw invalidArgument('socketPath: a Unix socket cannot be reached through a proxy')
  if (localAddress) throw invalidArgument('localAddress belongs to the agent, not to a request')
  // `http` takes a port as text, too; an empty one is none.
  return { host: host || 'localhost', port: Number(port || defaultPort) }
}

/** A host and a port as `SocksClient.connect` takes them. */
export interface Target {
  readonly host: string
  readonly port: number
}

/** A host as TLS wants it: an IP literal without brackets. */
export function bareHost(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1')
}

/** The name to ask a target for in TLS: empty, which is none, for an IP literal (RFC 6066 section 3). */
export function serverName(host: string): string {
  const bare = bareHost(host)
  return isIP(bare) === 0 ? bare.replace(/\.$/, '') : ''
}
