import { lookup } from 'node:dns/promises'
import { invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import { parseIP, SocksError } from '../codec/index.js'
import { isLoopback } from './egress.js'

/** Where to listen. */
export interface ListenOptions {
  /** 0 takes a free one. Default 1080. */
  readonly port?: number | undefined
  /** Address or name to bind. Default `127.0.0.1`. */
  readonly host?: string | undefined
  /** Connections the kernel holds until they are accepted. Default 511, Node's own. */
  readonly backlog?: number | undefined
  /** In a cluster worker: bind for this worker alone. Default `false`. */
  readonly exclusive?: boolean | undefined
}

/** Address that a server listens on. */
export interface ListenAddress {
  readonly host: string
  readonly port: number
}

/** Options as `net.Server` takes them, checked, the host an IP literal. */
export type BindOptions = Required<Pick<ListenOptions, 'host' | 'port' | 'exclusive'>> & { readonly backlog?: number }

const NAMES = ['port', 'host', 'backlog', 'exclusive']

/**
 * Checks where to listen. A name is looked up here, so that the address that is checked is the one that is bound.
 * @param isProtected whether others than this host's own users may be let in.
 * @throws TypeError, RangeError; SocksError `ERR_SOCKS_OPEN_PROXY` for an address that others can reach without `isProtected`.
 */
export async function bindOptions(where: number | ListenOptions, isProtected: boolean): Promise<BindOptions> {
  const { port = 1080, host = '127.0.0.1', backlog, exclusive = false } = checked(where)
  const address = parseIP(host) === undefined ? (await lookup(host)).address : host
  if (!isProtected && !isLoopback(address)) {
    throw new SocksError(
      'ERR_SOCKS_OPEN_PROXY',
      `refusing to serve anybody who can reach ${host}: set auth, set authorize, or say allowAnonymous: true`,
    )
  }
  return { host: address, port, exclusive, ...(backlog === undefined ? {} : { backlog }) }
}

function checked(where: number | ListenOptions): ListenOptions {
  const options: ListenOptions = typeof where === 'number' ? { port: where } : where
  if (typeof options !== 'object' || options === null) throw invalidArgument('listen takes a port or an object')
  for (const name of Object.keys(options)) if (!NAMES.includes(name)) throw invalidArgument(`unknown option ${name}`)
  const { port, host } = options
  if (port !== undefined && !isPort(port)) throw outOfRange('option port must be an integer from 0 to 65535')
  if (host !== undefined && (typeof host !== 'string' || host === ''))
    throw invalidArgument('option host must be an address')
  return options
}
