/** Codes of {@link SocksError} that say: the peer's bytes are wrong, or end too early. */
export const PEER_ERROR_CODES = [
  'ERR_SOCKS_BAD_VERSION',
  'ERR_SOCKS_PEER_IS_HTTP',
  'ERR_SOCKS_PEER_IS_TLS',
  'ERR_SOCKS_BAD_AUTH_VERSION',
  'ERR_SOCKS_BAD_RESERVED',
  'ERR_SOCKS_BAD_ADDRESS_TYPE',
  'ERR_SOCKS_INVALID_HOST',
  'ERR_SOCKS_INVALID_PORT',
  'ERR_SOCKS_CONNECTION_CLOSED',
  'ERR_SOCKS_RECEIVE_OVERFLOW',
  'ERR_SOCKS_BAD_USER_ID',
  'ERR_SOCKS_BAD_PROXY_HEADER',
  'ERR_SOCKS_BAD_GSSAPI_FRAME',
] as const

const OTHER_ERROR_CODES = [
  // Authentication.
  'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
  'ERR_SOCKS_METHOD_NOT_OFFERED',
  'ERR_SOCKS_AUTH_FAILED',
  // A request was refused or failed: one code per reply code.
  'ERR_SOCKS_GENERAL_FAILURE',
  'ERR_SOCKS_NOT_ALLOWED',
  'ERR_SOCKS_NETWORK_UNREACHABLE',
  'ERR_SOCKS_HOST_UNREACHABLE',
  'ERR_SOCKS_CONNECTION_REFUSED',
  'ERR_SOCKS_TTL_EXPIRED',
  'ERR_SOCKS_COMMAND_NOT_SUPPORTED',
  'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED',
  'ERR_SOCKS_TOR_REPLY',
  'ERR_SOCKS_UNASSIGNED_REPLY',
  // Decided on this side.
  'ERR_SOCKS_EGRESS_DENIED',
  'ERR_SOCKS_LOOP',
  'ERR_SOCKS_HOOK_FAILED',
  'ERR_SOCKS_HANDSHAKE_TIMEOUT',
  'ERR_SOCKS_DIAL_TIMEOUT',
  'ERR_SOCKS_BIND_TIMEOUT',
  'ERR_SOCKS_LIMIT',
  'ERR_SOCKS_ABORTED',
  'ERR_SOCKS_OPEN_PROXY',
  'ERR_SOCKS_SERVER_CLOSED',
  'ERR_SOCKS_ILLEGAL_MESSAGE',
  // The client.
  'ERR_SOCKS_INVALID_PROXY',
  'ERR_SOCKS_PROXY_UNREACHABLE',
  'ERR_SOCKS_TIMEOUT',
] as const

/** Every code that a {@link SocksError} can carry. `docs/errors.md` explains each one. */
export const SOCKS_ERROR_CODES: readonly [...typeof PEER_ERROR_CODES, ...typeof OTHER_ERROR_CODES] = [
  ...PEER_ERROR_CODES,
  ...OTHER_ERROR_CODES,
]

/** One of {@link SOCKS_ERROR_CODES}. */
export type SocksErrorCode = (typeof SOCKS_ERROR_CODES)[number]

/** What a {@link SocksError} may carry beside its code. A property is absent where it does not apply. */
export interface SocksErrorDetails {
  /** REP byte that was received, or that answers the peer. RFC 1928 section 6. */
  readonly replyCode?: number | undefined
  /** Status byte of a failed RFC 1929 sub-negotiation, 1 to 255. */
  readonly status?: number | undefined
  /** Bytes that a session still owes its peer before the connection is closed. */
  readonly response?: Uint8Array | undefined
  /** Zero-based position, in a chain of proxies, of the one that failed. */
  readonly hop?: number | undefined
  /** `host:port` that was asked for. */
  readonly target?: string | undefined
  /** The rule that decided, of a denial: `egress publicOnly`, `authorize allow`, `maxConnections`. */
  readonly rule?: string | undefined
  /** The system error, or the hook's own, that led to this one. */
  readonly cause?: unknown
}

/** The one error class of this library. Match on `code`; messages may change. Never holds a password or a peer's bytes. */
export class SocksError extends Error {
  readonly code: SocksErrorCode
  declare readonly replyCode?: number
  declare readonly status?: number
  declare readonly response?: Uint8Array
  declare readonly hop?: number
  declare readonly target?: string
  declare readonly rule?: string

  /** An error of the given code; `details` become properties where they are present. */
  constructor(code: SocksErrorCode, message: string, details: SocksErrorDetails = {}) {
    super(message, details.cause === undefined ? {} : { cause: details.cause })
    this.code = code
    for (const key of ['replyCode', 'status', 'response', 'hop', 'target', 'rule'] as const) {
      if (details[key] !== undefined) Object.defineProperty(this, key, { value: details[key], enumerable: true })
    }
  }

  override get name(): string {
    return 'SocksError'
  }
}

/** Whether a caught value is a {@link SocksError}, from this copy of the package or another. */
export function isSocksError(value: unknown): value is SocksError {
  return (
    value instanceof Error && value.name === 'SocksError' && String(Reflect.get(value, 'code')).startsWith('ERR_SOCKS_')
  )
}

/** The end of every exhaustive `switch`: reached only when a value lies about its type. */
export function assertNever(value: never): never {
  throw new TypeError(`unexpected value ${String(value)}`)
}
