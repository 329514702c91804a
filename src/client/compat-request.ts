import { randomInt } from 'node:crypto'
import { type NetConnectOpts, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import { type Destination, withoutZone } from '../codec/destination.js'
import { isSocksError } from '../codec/errors.js'
import { isByteStream } from '../stream/byte-stream.js'
import { Chain } from './chain.js'
import { customAuth } from './compat-auth.js'
import { asClientError, type CommandOptions, withoutSecrets } from './compat-error.js'
import type {
  SocksClientChainOptions,
  SocksCommandOption,
  SocksConnectionOptions,
  SocksProxy,
  SocksRemoteHost,
} from './compat-types.js'
import { parseTarget } from './idn.js'
import { invalidProxy, type ProxyOptions, parseProxy } from './proxy-url.js'

const DEFAULT_TIMEOUT_MS = 30_000
// Node's timers fire at once when they are given more.
const MAX_TIMEOUT_MS = 0x7fffffff

/** One command, checked. */
export interface CommandRequest {
  /** What was asked for, to show: no secrets. */
  readonly options: CommandOptions
  readonly command: SocksCommandOption
  readonly destination: Destination
  readonly chain: Chain
  /** Host of the last proxy as it was given, where it was. */
  readonly proxyHost: string | undefined
  readonly timeoutMs: number
  /** For the peer of `bind`; 0 is no limit. */
  readonly acceptTimeoutMs: number
  /** A stream that leads to the first proxy already. */
  readonly socket: Duplex | undefined
  /** How to dial the first proxy, where there is something to say about it. */
  readonly dial: NetConnectOpts | undefined
  readonly allowHalfOpen: boolean
  readonly noDelay: boolean
}

/**
 * Checks the options of one command. Keys that npm `socks` does not know are ignored as they are there: its callers were
 * written without us, and often cannot be changed.
 * @throws SocksClientError for a proxy or a destination that cannot be; TypeError, RangeError for other options.
 */
export function commandRequest(
  options: SocksConnectionOptions,
  allowed: readonly SocksCommandOption[] = ['connect', 'bind', 'associate'],
): CommandRequest {
  return checked(options, () => {
    const { command, proxy, timeout, existing_socket: socket, socket_options: dial, set_tcp_nodelay } = options
    if (!allowed.includes(command))
      throw invalidArgument(`command must be ${allowed.map((name) => `'${name}'`).join(', ')}`)
    const given = isGiven(socket) ? socket : undefined
    if (given !== undefined && !isByteStream(given)) throw invalidArgument('existing_socket must be a Duplex of bytes')
    if (isGiven(dial) && typeof dial !== 'object') throw invalidArgument('socket_options must be an object')
    const hop = proxyOptions(proxy, { ...placeOf(proxy, given), ...(given === undefined ? pathOf(dial) : {}) })
    if (command === 'associate' && hop.version === 4) throw invalidProxy('SOCKS4 has no datagrams')
    return {
      ...common(options, options.destination, [hop]),
      command,
      proxyHost: given !== undefined && hop.host === NAMELESS ? undefined : hop.host,
      acceptTimeoutMs: isGiven(timeout) ? checkTimeout(timeout) : 0,
      socket: given,
      dial: given === undefined && isGiven(dial) ? { ...dial, ...dialed(hop) } : undefined,
      allowHalfOpen: Boolean(isGiven(dial) && Reflect.get(dial, 'allowHalfOpen')),
      noDelay: set_tcp_nodelay ?? true,
    }
  })
}

/** Checks the options of a chain. @throws as {@link commandRequest}. */
export function chainRequest(options: SocksClientChainOptions): CommandRequest {
  return checked(options, () => {
    const { command, proxies, randomizeChain } = options
    if (command !== 'connect') throw invalidArgument("command must be 'connect'")
    if (!(Array.isArray(proxies) && proxies.length >= 2)) throw invalidArgument('proxies must be a list of two or more')
    const order = randomizeChain ? shuffled(proxies) : proxies
    const hops = order.map((proxy) => proxyOptions(proxy, placeOf(proxy, undefined)))
    return {
      ...common({ ...options, proxies: order }, options.destination, hops),
      command,
      proxyHost: hops.at(-1)?.host,
      acceptTimeoutMs: 0,
      socket: undefined,
      dial: undefined,
      allowHalfOpen: false,
      noDelay: true,
    }
  })
}

function checked(options: CommandOptions, check: () => CommandRequest): CommandRequest {
  if (typeof options !== 'object' || options === null) throw invalidArgument('options must be an object')
  try {
    return check()
  } catch (error) {
    throw isSocksError(error) ? asClientError(error, options) : error
  }
}

function common(
  options: CommandOptions,
  destination: SocksRemoteHost,
  proxy: readonly ProxyOptions[],
): Pick<CommandRequest, 'options' | 'destination' | 'chain' | 'timeoutMs'> {
  const { timeout } = options
  return {
    options: withoutSecrets(options),
    destination: target(destination),
    chain: new Chain(proxy, CHAIN_OPTIONS),
    timeoutMs: isGiven(timeout) ? checkTimeout(timeout) : DEFAULT_TIMEOUT_MS,
  }
}

const CHAIN_OPTIONS = {
  requireAuth: false,
  isolate: false,
  optimistic: false,
  lookup: undefined,
  localAddress: undefined,
  onHop: undefined,
} as const

function target(destination: SocksRemoteHost): Destination {
  const { host, port } = destination ?? {}
  if (typeof host !== 'string') throw invalidArgument('destination.host must be a string')
  if (!isPort(port)) throw outOfRange('destination.port must be an integer from 0 to 65535')
  return parseTarget(host, port)
}

/** Anything that is not there, in the words of callers in plain JavaScript. */
function isGiven<T>(value: T | null | undefined): value is T {
  return value !== undefined && value !== null
}

function checkTimeout(timeout: number): number {
  if (Number.isFinite(timeout) && timeout >= 0 && timeout <= MAX_TIMEOUT_MS) return timeout
  throw outOfRange(`timeout must be a number from 0 to ${MAX_TIMEOUT_MS}`)
}

// How messages name a proxy of which nothing is known but a stream.
const NAMELESS = 'existing_socket'

/** Where the proxy is; beside a stream that leads there, what it may be called: callers put anything in. */
function placeOf(proxy: SocksProxy, socket: Duplex | undefined): Pick<ProxyOptions, 'host' | 'port' | 'path'> {
  const { port } = proxy ?? {}
  const host = proxy?.host || proxy?.ipaddress
  if (socket === undefined) return { host, port }
  if (isPlace(host, port)) return { host, port }
  if (!(socket instanceof Socket && socket.remoteAddress !== undefined)) return { host: NAMELESS }
  return { host: withoutZone(socket.remoteAddress), port: socket.remotePort }
}

function isPlace(host: string | undefined, port: number | undefined): boolean {
  try {
    return parseProxy({ host, port }).address !== undefined
  } catch {
    return false
  }
}

/** A path goes in place of host and port, as in `net.connect`. */
function pathOf(dial: Partial<NetConnectOpts> | undefined): Pick<ProxyOptions, 'host' | 'port' | 'path'> {
  const path: unknown = isGiven(dial) ? Reflect.get(dial, 'path') : undefined
  return typeof path === 'string' ? { host: undefined, port: undefined, path } : {}
}

function dialed({ host, port, path }: ProxyOptions): NetConnectOpts {
  if (path !== undefined) return { path }
  const address = parseProxy({ host, port }).address
  return { host: address?.host, port: address?.port ?? 0 }
}

function proxyOptions(proxy: SocksProxy, place: Pick<ProxyOptions, 'host' | 'port' | 'path'>): ProxyOptions {
  if (typeof proxy !== 'object' || proxy === null) throw invalidArgument('proxy must be an object')
  const { type, userId, password } = proxy
  if (type !== 4 && type !== 5) throw invalidArgument("proxy option 'type' is 4 or 5")
  const username = userId || undefined
  return {
    ...place,
    version: type,
    username,
    // SOCKS4 has no place for it, and callers who take both kinds of proxy hand it over all the same.
    password: type === 4 ? undefined : password || undefined,
    auth: customAuth(proxy),
  }
}

function shuffled<T>(list: readonly T[]): T[] {
  const rest = [...list]
  return list.flatMap(() => rest.splice(randomInt(rest.length), 1))
}
