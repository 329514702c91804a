import { isSocksError, SocksError, type SocksErrorCode, type SocksErrorDetails } from '../codec/errors.js'
import type { SocksClientChainOptions, SocksConnectionOptions, SocksProxy, SocksRemoteHost } from './compat-types.js'
import { parseTarget } from './idn.js'

/** What was asked for. */
export type CommandOptions = SocksConnectionOptions | SocksClientChainOptions

/**
 * What `createConnection`, `createConnectionChain` and a client that was made for one command fail with. `code`, `hop`,
 * `target`, `replyCode` are those of every {@link SocksError}. Its message is the one that programs compare with; where
 * that says less, `cause` says it all.
 */
export class SocksClientError extends SocksError {
  /** What was asked for, without user, password, handlers and streams. */
  declare readonly options: CommandOptions

  /** `options` may hold secrets: none of them is kept. */
  constructor(
    message: string,
    options: CommandOptions,
    code: SocksErrorCode = 'ERR_SOCKS_GENERAL_FAILURE',
    details: SocksErrorDetails = {},
  ) {
    super(code, message, details)
    Object.defineProperty(this, 'options', { value: withoutSecrets(options), enumerable: true })
  }
}

/** A failure as users of npm `socks` know it. */
export function asClientError(error: unknown, options: CommandOptions): SocksClientError {
  if (!isSocksError(error)) return new SocksClientError('the attempt failed', options, undefined, { cause: error })
  const { code, replyCode, status, hop, target } = error
  const familiar = familiarMessage(error, options)
  const cause = familiar === undefined ? error.cause : error
  return new SocksClientError(familiar ?? error.message, options, code, { replyCode, status, hop, target, cause })
}

/** The options with what may be shown: in a log, in an error, by `util.inspect`. */
export function withoutSecrets(options: CommandOptions): CommandOptions {
  const { command, destination, timeout } = options
  const common = { destination: destinationOf(destination), ...(timeout === undefined ? {} : { timeout }) }
  if ('proxies' in options) {
    const { proxies, randomizeChain } = options
    return {
      command: 'connect',
      ...common,
      proxies: Array.isArray(proxies) ? proxies.map(publicPart) : [],
      ...(randomizeChain === undefined ? {} : { randomizeChain }),
    }
  }
  const { proxy, set_tcp_nodelay } = options
  return {
    command,
    ...common,
    proxy: publicPart(proxy),
    ...(set_tcp_nodelay === undefined ? {} : { set_tcp_nodelay }),
  }
}

function destinationOf(destination: SocksRemoteHost | undefined): SocksRemoteHost {
  const { host, port } = destination ?? {}
  return { host: isShowable(host) ? host : '', port: Number(port) }
}

function publicPart(proxy: SocksProxy | undefined): SocksProxy {
  const { host, ipaddress, port, type } = proxy ?? { port: 0, type: 5 }
  return {
    ...(isShowable(host) ? { host } : {}),
    ...(isShowable(ipaddress) ? { ipaddress } : {}),
    port,
    type,
  }
}

/** Somebody may have put a whole URL there, password included. */
function isShowable(host: unknown): host is string {
  try {
    return typeof host === 'string' && parseTarget(host, 0).host !== ''
  } catch {
    return false
  }
}

// By REP and by CD. Programs find these names in messages. RFC 1928 section 6, SOCKS4 memo.
const SOCKS5_NAMES: { readonly [code: number]: string | undefined } = {
  1: 'Failure',
  2: 'NotAllowed',
  3: 'NetworkUnreachable',
  4: 'HostUnreachable',
  5: 'ConnectionRefused',
  6: 'TTLExpired',
  7: 'CommandNotSupported',
  8: 'AddressNotSupported',
}
const SOCKS4_NAMES: { readonly [code: number]: string | undefined } = {
  91: 'Failed',
  92: 'Rejected',
  93: 'RejectedIdent',
}

/**
 * npm `socks` tells failures apart by their message alone, so its users compare whole messages (proxy-chain 3.0.1) or
 * parts of them. The three kinds that they act on read here as they do there.
 */
function familiarMessage(error: SocksError, options: CommandOptions): string | undefined {
  const { code, replyCode, status, hop } = error
  if (code === 'ERR_SOCKS_TIMEOUT') return 'Proxy connection timed out'
  // Before any proxy was asked: nobody has refused anything.
  if (hop === undefined) return undefined
  const proxy = 'proxies' in options ? options.proxies[hop] : options.proxy
  if (proxy?.type === 4) {
    return status === undefined
      ? undefined
      : `Socks4 Proxy rejected connection - (${SOCKS4_NAMES[status] ?? hexadecimal(status)})`
  }
  if (code === 'ERR_SOCKS_AUTH_FAILED') return 'Socks5 Authentication failed'
  if (replyCode === undefined) return undefined
  return `Socks5 proxy rejected connection - ${SOCKS5_NAMES[replyCode] ?? hexadecimal(replyCode)}`
}

function hexadecimal(code: number): string {
  return `0x${code.toString(16).padStart(2, '0')}`
}
