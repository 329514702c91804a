import { lookup } from 'node:dns/promises'
import { assertOptions, invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import { parseIP, SocksError } from '../codec/index.js'
import { isLoopback } from './egress.js'

/** Where to listen: at an address and port, at a Unix socket, or at a socket that somebody else has made. */
export interface ListenOptions {
  /** 0 takes a free one. Default 1080. */
  readonly port?: number | undefined
  /** Address or name to bind. Default `127.0.0.1`. */
  readonly host?: string | undefined
  /**
   * Path of a Unix socket (a pipe's name on Windows), in place of `port` and `host`. At most 107 bytes on Linux, 103
   * elsewhere: systems cut off what is longer.
   */
  readonly path?: string | undefined
  /** Descriptor of a socket that listens already (socket activation, TPROXY), in place of `port` and `host`. */
  readonly fd?: number | undefined
  /** Connections the kernel holds until they are accepted. Default 511, Node's own. */
  readonly backlog?: number | undefined
  /** In a cluster worker: bind for this worker alone. Default `false`. */
  readonly exclusive?: boolean | undefined
  /**
   * Let several processes bind one port and share its connections out (SO_REUSEPORT). Default `false`. Node >= 23.1 or
   * 22.12; older ones ignore it without a word, so here they throw.
   */
  readonly reusePort?: boolean | undefined
}

/** Address that a server listens on. */
export interface ListenAddress {
  readonly host: string
  readonly port: number
}

/** Unix socket that a server listens on. */
export interface ListenPath {
  readonly path: string
}

/** Options as `net.Server` takes them, checked, the host an IP literal. */
export type NodeListenOptions =
  | { readonly fd: number }
  | ({ readonly path: string } & Common)
  | ({ readonly host: string; readonly port: number; readonly reusePort?: boolean } & Common)

interface Common {
  readonly exclusive: boolean
  readonly backlog?: number
}

const NAMES = ['port', 'host', 'path', 'fd', 'backlog', 'exclusive', 'reusePort']

// sun_path of unix(7), without its NUL. Node listens at what is left of a longer path, without a word.
const MAX_PATH = process.platform === 'linux' ? 107 : 103

/**
 * Checks where to listen. A name is looked up here, so that the address that is checked is the one that is bound.
 * @param isProtected whether others than this host's own users may be let in.
 * @throws TypeError, RangeError; SocksError `ERR_SOCKS_OPEN_PROXY` for an address that others can reach without `isProtected`.
 */
export async function nodeListenOptions(
  where: number | ListenOptions,
  isProtected: boolean,
): Promise<NodeListenOptions> {
  const { port = 1080, host = '127.0.0.1', path, fd, backlog, exclusive = false, reusePort = false } = checked(where)
  if (fd !== undefined) return { fd }
  const common = { exclusive, ...(backlog === undefined ? {} : { backlog }) }
  if (path !== undefined) return { path, ...common }
  const address = parseIP(host) === undefined ? (await lookup(host)).address : host
  assertProtected(address, host, isProtected)
  return { host: address, port, ...common, ...(reusePort ? { reusePort } : {}) }
}

/** @throws SocksError `ERR_SOCKS_OPEN_PROXY` for an address that others can reach, unless somebody guards it. */
export function assertProtected(address: string, host: string, isProtected: boolean): void {
  if (isProtected || isLoopback(address)) return
  throw new SocksError(
    'ERR_SOCKS_OPEN_PROXY',
    `refusing to serve anybody who can reach ${host}: set auth, set authorize, or say allowAnonymous: true`,
  )
}

function checked(where: number | ListenOptions): ListenOptions {
  const options: ListenOptions = typeof where === 'number' ? { port: where } : where
  if (typeof options !== 'object' || options === null) throw invalidArgument('listen takes a port or an object')
  assertOptions(options, NAMES)
  const { port, host, path, fd, backlog, exclusive, reusePort } = options
  if (port !== undefined && !isPort(port)) throw outOfRange('option port must be an integer from 0 to 65535')
  if (host !== undefined && (typeof host !== 'string' || host === ''))
    throw invalidArgument('option host must be an address')
  if (path !== undefined) assertPath(path)
  if (fd !== undefined && !(Number.isInteger(fd) && fd >= 0)) throw invalidArgument('option fd must be a descriptor')
  if (backlog !== undefined && !(Number.isInteger(backlog) && backlog >= 0 && backlog <= 0x7fff_ffff)) {
    throw outOfRange('option backlog must be an integer from 0 to 2147483647')
  }
  for (const flag of [exclusive, reusePort]) {
    if (flag !== undefined && typeof flag !== 'boolean') {
      throw invalidArgument('options exclusive and reusePort must be booleans')
    }
  }
  const isAddress = port !== undefined || host !== undefined || reusePort === true
  if ([isAddress, path !== undefined, fd !== undefined].filter(Boolean).length > 1) {
    throw invalidArgument('listen takes one of port and host, path, or fd')
  }
  if (fd !== undefined && (backlog !== undefined || exclusive === true)) {
    throw invalidArgument('backlog and exclusive are for who makes the socket, not for one that is given by fd')
  }
  if (reusePort === true && !hasReusePort(process.versions.node)) {
    const error = new Error(`reusePort needs Node 23.1 or 22.12; this is ${process.versions.node}, which ignores it`)
    throw Object.assign(error, { code: 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM' })
  }
  return options
}

function assertPath(path: unknown): void {
  // A path ends at its NUL for the system.
  if (typeof path !== 'string' || path === '' || path.includes('\0'))
    throw invalidArgument('option path must be a path')
  if (process.platform !== 'win32' && Buffer.byteLength(path) > MAX_PATH) {
    throw outOfRange(`option path is longer than the ${MAX_PATH} bytes that the path of a Unix socket may have`)
  }
}

/** Whether a version of Node knows `reusePort`, which older ones ignore. */
export function hasReusePort(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12)
}
