import type { ConnectionOptions } from 'node:tls'
import { hintOf, invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import { type Destination, formatDestination } from '../codec/destination.js'
import { SocksError } from '../codec/errors.js'
import type { Credentials } from '../codec/userpass.js'
import { type ClientMethod, checkMethod } from './auth-method.js'
import { parseTarget } from './idn.js'
import { PROXY_HINTS, unlessText } from './option-hints.js'

/** A proxy as an object. Exactly these keys: an unknown one throws, so that a typing error never drops a password. */
export interface ProxyOptions {
  /** Name or IP literal, with or without brackets. Not together with `path`. */
  readonly host?: string | undefined
  /** 1 to 65535. Default 1080. */
  readonly port?: number | undefined
  /** Path of the proxy's Unix socket, in place of `host`. */
  readonly path?: string | undefined
  /** SOCKS4 (with `resolve: 'remote'`, the default: SOCKS4a) or SOCKS5, the default. */
  readonly version?: 4 | 5 | undefined
  /** At most 255 bytes of UTF-8, no NUL. Credentials are offered when this or `password` is given. In SOCKS4 the USERID. */
  readonly username?: string | undefined
  /** At most 255 bytes of UTF-8, no NUL; may be empty, which is also the default beside `username`. */
  readonly password?: string | undefined
  /** Speak TLS to the proxy; an object is handed to `tls.connect`. Default `false`. */
  readonly tls?: boolean | ConnectionOptions | undefined
  /** Who looks names up: the proxy (`'remote'`, the default) or this machine. */
  readonly resolve?: 'local' | 'remote' | undefined
  /** A method of your own, made by `customMethod`, to offer beside the others. SOCKS5 alone. */
  readonly auth?: ClientMethod | undefined
}

/**
 * A proxy: a URL or an object. `socks5h://` and `socks://` leave names to the proxy, `socks5://` looks them up on this
 * machine, as in curl; likewise `socks4a://` and `socks4://`, whose user is the USERID. `socks5h://localhost/run/proxy.sock`
 * is a Unix socket. User and password are percent-encoded.
 */
export type ProxyLike = string | URL | ProxyOptions

const DEFAULT_PORT = 1080
// RFC 1929 section 2: lengths are one byte.
const MAX_CREDENTIAL = 255

interface Scheme {
  readonly version: 4 | 5
  readonly resolve: 'local' | 'remote'
}

const SCHEMES: { readonly [protocol: string]: Scheme | undefined } = {
  'socks5h:': { version: 5, resolve: 'remote' },
  'socks:': { version: 5, resolve: 'remote' },
  'socks5:': { version: 5, resolve: 'local' },
  'socks4a:': { version: 4, resolve: 'remote' },
  'socks4:': { version: 4, resolve: 'local' },
}

const KNOWN_KEYS: ReadonlySet<string> = new Set([
  'host',
  'port',
  'path',
  'version',
  'username',
  'password',
  'tls',
  'resolve',
  'auth',
])

/** A proxy, checked. Immutable. What is secret is behind methods: `util.inspect` calls none of them. */
export class Upstream {
  /** Address of the proxy; `undefined` for a Unix socket. */
  readonly address: Destination | undefined
  /** Path of its Unix socket, if it is one. */
  readonly path: string | undefined
  readonly version: 4 | 5
  readonly resolve: 'local' | 'remote'
  /** The proxy as messages name it: no credentials. */
  readonly label: string
  readonly #credentials: Credentials | undefined
  readonly #tls: ConnectionOptions | undefined
  readonly #auth: ClientMethod | undefined

  /** Use {@link parseProxy}. */
  constructor(parts: UpstreamParts) {
    this.address = parts.address
    this.path = parts.path
    this.version = parts.version
    this.resolve = parts.resolve
    this.#credentials = parts.credentials
    this.#tls = parts.tls
    this.#auth = parts.auth
    const place = parts.address === undefined ? `localhost${parts.path}` : formatDestination(parts.address)
    this.label = `${schemeOf(parts)}://${place}${parts.tls ? ' over TLS' : ''}`
    Object.freeze(this)
  }

  /** Username and password, if there are any. */
  credentials(): Credentials | undefined {
    return this.#credentials
  }

  /** Options for TLS to the proxy; `undefined` for plain text. */
  tlsOptions(): ConnectionOptions | undefined {
    return this.#tls
  }

  /** A method of the application's own, if there is one. */
  auth(): ClientMethod | undefined {
    return this.#auth
  }
}

interface UpstreamParts extends Scheme {
  readonly address: Destination | undefined
  readonly path: string | undefined
  readonly credentials: Credentials | undefined
  readonly tls: ConnectionOptions | undefined
  readonly auth: ClientMethod | undefined
}

/**
 * Reads a proxy. No error says anything of what was in the URL: where it is malformed, the password may stand anywhere.
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`; TypeError for a wrong type or an unknown key; RangeError for a port.
 */
export function parseProxy(proxy: ProxyLike): Upstream {
  if (typeof proxy === 'string') return fromUrl(proxy)
  if (proxy instanceof URL) return fromUrl(proxy.href)
  if (typeof proxy !== 'object' || proxy === null) throw invalidArgument('a proxy must be a URL or an object')
  if ('connect' in proxy || 'createConnection' in proxy) {
    throw invalidArgument('a proxy is a URL or an object of its options, not a client')
  }
  return fromOptions(proxy)
}

/** An error about a proxy that cannot be used. `message` must not quote what the caller gave. */
export function invalidProxy(message: string): SocksError {
  return new SocksError('ERR_SOCKS_INVALID_PROXY', message)
}

function fromUrl(text: string): Upstream {
  const url = parseUrl(text)
  const scheme = SCHEMES[url.protocol] ?? refuseScheme()
  if (url.search !== '' || url.hash !== '') throw invalidProxy('a proxy URL has no query and no fragment')
  const path = unixPath(url)
  const hasCredentials = url.username !== '' || url.password !== ''
  return new Upstream({
    address:
      path === undefined
        ? parseAddress(decodeText(url.hostname), url.port === '' ? DEFAULT_PORT : +url.port)
        : undefined,
    path,
    ...scheme,
    credentials: hasCredentials
      ? checkCredentials(scheme, { username: percentDecode(url.username), password: percentDecode(url.password) })
      : undefined,
    tls: undefined,
    auth: undefined,
  })
}

function parseUrl(text: string): URL {
  // The URL parser drops tabs and line feeds, which would change a password without a word.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
  if (/[\x00-\x20\x7f]/.test(text)) throw invalidProxy('a proxy URL has no spaces or control characters')
  if (!text.includes('://')) refuseScheme()
  try {
    return new URL(text)
  } catch {
    // Not passed on as `cause`: Node's ERR_INVALID_URL carries the whole text, password included.
    throw invalidProxy('malformed proxy URL; special characters in user or password must be percent-encoded')
  }
}

function refuseScheme(): never {
  // The scheme is not quoted: of 'user:password@host' it is the user.
  throw invalidProxy('a proxy URL begins with socks5h://, socks5://, socks:// or socks4a://, socks4://')
}

/** The scheme that stands for how a proxy is spoken to. */
function schemeOf({ version, resolve }: Scheme): string {
  const suffix = { 4: { local: '', remote: 'a' }, 5: { local: '', remote: 'h' } }[version][resolve]
  return `socks${version}${suffix}`
}

/** curl's spelling of a Unix socket: `socks5h://localhost/path`. */
function unixPath({ hostname, port, pathname }: URL): string | undefined {
  if (pathname === '' || pathname === '/') return undefined
  if (hostname !== 'localhost' || port !== '') {
    throw invalidProxy('a proxy URL has no path, but for socks5h://localhost/path of a Unix socket')
  }
  return checkPath(decodeText(pathname))
}

function fromOptions(options: ProxyOptions): Upstream {
  for (const key of Object.keys(options)) {
    if (!KNOWN_KEYS.has(key)) throw invalidArgument(`unknown proxy option '${key}'${hintOf(PROXY_HINTS, key)}`)
  }
  const { host, port = DEFAULT_PORT, path, version = 5, username, password, resolve = 'remote' } = options
  assertText({ host, path, username, password })
  if (resolve !== 'local' && resolve !== 'remote')
    throw invalidArgument("proxy option 'resolve' is 'local' or 'remote'")
  if (version !== 4 && version !== 5) throw invalidArgument("proxy option 'version' is 4 or 5")
  if ((host === undefined) === (path === undefined)) throw invalidProxy("a proxy has either a 'host' or a 'path'")
  if (!isPort(port) || port === 0) {
    throw outOfRange(`proxy port must be an integer from 1 to 65535${unlessText(port)}`)
  }
  const encoder = new TextEncoder()
  return new Upstream({
    address: host === undefined ? undefined : parseAddress(host, port),
    path: path === undefined ? undefined : checkPath(path),
    version,
    resolve,
    credentials:
      username === undefined && password === undefined
        ? undefined
        : checkCredentials(
            { version },
            { username: encoder.encode(username ?? ''), password: encoder.encode(password ?? '') },
          ),
    tls: tlsOptions(options.tls),
    auth: authOption(options),
  })
}

function authOption({ auth, version }: ProxyOptions): ClientMethod | undefined {
  if (auth === undefined) return undefined
  if (version === 4) throw invalidProxy("SOCKS4 has no methods, of which 'auth' is one")
  return checkMethod(auth)
}

function assertText(values: { readonly [key: string]: unknown }): void {
  for (const [key, value] of Object.entries(values)) {
    if (value !== undefined && typeof value !== 'string')
      throw invalidArgument(`proxy option '${key}' must be a string`)
  }
}

function tlsOptions(tls: ProxyOptions['tls']): ConnectionOptions | undefined {
  if (tls === undefined || tls === false) return undefined
  if (tls === true) return {}
  if (typeof tls !== 'object' || tls === null)
    throw invalidArgument("proxy option 'tls' must be a boolean or an object")
  return { ...tls }
}

function parseAddress(host: string, port: number): Destination {
  if (host === '') throw invalidProxy('the proxy has no host')
  if (port === 0) throw invalidProxy('the port of a proxy is not 0')
  try {
    return parseTarget(host, port)
  } catch {
    throw invalidProxy('the host of the proxy is not a valid name or IP address')
  }
}

function checkPath(path: string): string {
  // The system would cut the path at NUL and connect to something else.
  if (path === '' || path.includes('\0')) throw invalidProxy('the path of the proxy is empty or holds a NUL')
  return path
}

function checkCredentials({ version }: Pick<Scheme, 'version'>, credentials: Credentials): Credentials {
  if (version === 4 && credentials.password.length > 0) throw invalidProxy('SOCKS4 has no passwords')
  for (const bytes of [credentials.username, credentials.password]) {
    if (bytes.length > MAX_CREDENTIAL) throw invalidProxy('user or password of the proxy is longer than 255 bytes')
    // Servers written in C compare up to the first NUL.
    if (bytes.includes(0)) throw invalidProxy('user or password of the proxy holds a NUL')
  }
  return credentials
}

/** Percent-decoding to bytes, as curl does it: a password need not be UTF-8. */
function percentDecode(text: string): Uint8Array {
  if (/%(?![0-9a-f]{2})/i.test(text)) throw invalidProxy('malformed percent-encoding in the proxy URL')
  const encoder = new TextEncoder()
  const pieces = text.split(/(%[0-9a-f]{2})/i)
  return Uint8Array.from(
    pieces.flatMap((piece) => Array.from(piece.startsWith('%') ? hexByte(piece) : encoder.encode(piece))),
  )
}

function hexByte(piece: string): number[] {
  return [Number.parseInt(piece.slice(1), 16)]
}

function decodeText(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw invalidProxy('malformed percent-encoding in the proxy URL')
  }
}
