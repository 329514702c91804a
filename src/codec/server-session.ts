// The server's half of a SOCKS5 handshake as a state machine without a socket.
//
// Each event moves the session to a state in which it is the application's turn, so a request that was pipelined
// behind credentials is not looked at before they are judged. A tunnel's own bytes are never read here:
// takeRemaining() gives back what came with the handshake. A SOCKS4 client, where it is served, begins with its request.

import type { Address } from './address.js'
import { assertByte } from './arguments.js'
import { AUTH_VERSION, AuthStatus, Command, Method, ReplyCode, SOCKS4_VERSION, Socks4ReplyCode } from './constants.js'
import { type Destination, toDestination } from './destination.js'
import { assertNever, isSocksError, SocksError } from './errors.js'
import { decodeGreeting, encodeMethodSelection } from './greeting.js'
import { encodeReply } from './reply.js'
import { decodeRequest, type Request } from './request.js'
import { Session, type SessionOptions, type TransitionTable } from './session.js'
import { decodeSocks4Request, encodeSocks4Reply } from './socks4.js'
import { type Credentials, decodeCredentials, encodeUserPassStatus } from './userpass.js'

/** What a {@link ServerSession} tells. */
export type ServerEvent =
  | { readonly type: 'greeting'; readonly methods: readonly number[] }
  | { readonly type: 'credentials'; readonly credentials: Credentials }
  /** Raw bytes for a custom method; whatever it does not use goes back with `authEnd`. */
  | { readonly type: 'authData'; readonly data: Uint8Array }
  | ServerRequest
  /** The peer left before it said anything: a health check, not an error. */
  | { readonly type: 'end' }

/** What a client asks for. */
export interface ServerRequest {
  readonly type: 'request'
  readonly command: number
  readonly destination: Destination
  /** USERID of a SOCKS4 client, a name without a proof. Absent for one of SOCKS5. */
  readonly userId?: Uint8Array
}

/** What a {@link ServerSession} can be told to say. A `reply` takes SOCKS5 codes; a SOCKS4 client is told 5A or 5B. */
export type ServerMessage =
  | { readonly type: 'method'; readonly method: number }
  | { readonly type: 'authStatus'; readonly status: number }
  | { readonly type: 'authData'; readonly data: Uint8Array }
  /** A custom method has succeeded; nothing is sent. */
  | { readonly type: 'authEnd'; readonly unread?: Uint8Array | undefined }
  | { readonly type: 'reply'; readonly code: number; readonly bound?: Address | undefined }

/** Options of {@link ServerSession}. */
export interface ServerSessionOptions extends SessionOptions {
  /** Accept version 05 of the RFC 1929 sub-negotiation. Default `false`. */
  readonly lenientAuthVersion?: boolean | undefined
  /** After "no authentication" was chosen, accept credentials that a broken client sends all the same. Default `false`. */
  readonly lenientAuthMessage?: boolean | undefined
  /** Answer a request whose reserved byte is not zero with 01. Default `false`: it is ignored. */
  readonly strictReserved?: boolean | undefined
  /** Read SOCKS4 and SOCKS4a requests, too. Default `false`. */
  readonly socks4?: boolean | undefined
}

/** Where a {@link ServerSession} stands. */
export type ServerState =
  | 'awaiting-greeting'
  | 'choosing-method'
  | 'awaiting-credentials'
  | 'judging-credentials'
  | 'authenticating'
  | 'awaiting-request'
  | 'judging-request'
  | 'listening'
  | 'open'
  | 'closed'
  | 'failed'

const TRANSITIONS: TransitionTable<ServerState> = {
  // `request`: a SOCKS4 client has nothing else to say.
  'awaiting-greeting': { greeting: 'choosing-method', request: 'judging-request', end: 'closed' },
  'choosing-method': { method: afterMethod },
  'awaiting-credentials': { credentials: 'judging-credentials' },
  'judging-credentials': { authStatus: afterStatus },
  authenticating: { authData: 'authenticating', authEnd: 'awaiting-request' },
  // `credentials`: only with lenientAuthMessage.
  'awaiting-request': { request: 'judging-request', credentials: 'judging-credentials' },
  'judging-request': { reply: afterReply },
  // BIND between its two replies. RFC 1928 section 4.
  listening: { reply: (code) => (code === ReplyCode.succeeded ? 'open' : 'closed') },
  open: {},
  closed: {},
  failed: {},
}

function afterMethod(method: number): ServerState {
  if (method === Method.noAcceptable) return 'closed'
  if (method === Method.noAuth) return 'awaiting-request'
  return method === Method.userPass ? 'awaiting-credentials' : 'authenticating'
}

function afterStatus(status: number): ServerState {
  // RFC 1929 section 2: a failure must be followed by closing.
  return status === AuthStatus.success ? 'awaiting-request' : 'closed'
}

function afterReply(code: number, command: number): ServerState {
  if (code !== ReplyCode.succeeded) return 'closed'
  if (command === Command.bind) return 'listening'
  // Tor's look-ups end with their answer.
  return command === Command.resolve || command === Command.resolvePtr ? 'closed' : 'open'
}

/** Told to a browser or curl that took this port for an HTTP proxy. */
const HTTP_HINT: Uint8Array = Uint8Array.from(
  'HTTP/1.0 501 Not Implemented\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n' +
    'This is a SOCKS5 proxy, not an HTTP proxy. Use a socks5h:// proxy URL.\n',
  (character) => character.charCodeAt(0),
)

/** One client's handshake, seen from the server. */
export class ServerSession extends Session<ServerState, ServerEvent, ServerMessage> {
  readonly #options: ServerSessionOptions
  #methods: readonly number[] = []
  #judged = false
  #version: 4 | 5 = 5

  constructor(options: ServerSessionOptions = {}) {
    super(TRANSITIONS, 'awaiting-greeting', options)
    this.#options = options
  }

  protected override read(): ServerEvent | undefined {
    switch (this.state) {
      case 'awaiting-greeting':
        return this.#speaksSocks4() ? this.#readSocks4Request() : this.#readGreeting()
      case 'awaiting-credentials':
        return this.#readCredentials(this.#options.lenientAuthVersion)
      case 'authenticating':
        return this.takeAuthData()
      default:
        return this.#expectsStrayCredentials() ? this.#readCredentials(false) : this.#readRequest()
    }
  }

  protected override readEnd(waiting: number): ServerEvent | undefined {
    // What the method has read before may be all it needs; it knows of the end.
    if (this.state === 'authenticating') return undefined
    if (this.state === 'awaiting-greeting' && waiting === 0) return { type: 'end' }
    throw new SocksError('ERR_SOCKS_CONNECTION_CLOSED', 'the client left in the middle of the handshake')
  }

  protected override encode(message: ServerMessage): Uint8Array {
    switch (message.type) {
      case 'method':
        this.#checkMethod(message.method)
        return encodeMethodSelection(message)
      case 'authStatus': {
        const bytes = encodeUserPassStatus(message)
        this.#judged = true
        return bytes
      }
      case 'authData':
        return message.data
      case 'authEnd':
        this.giveBack(message.unread)
        this.#judged = true
        return new Uint8Array(0)
      case 'reply':
        return this.#version === 4 ? encodeSocks4Answer(message) : encodeReply(message)
      default:
        return assertNever(message)
    }
  }

  /** Errors of framing are answered by closing alone; what a request got wrong is answered by one full reply. */
  protected override answered(error: SocksError): SocksError {
    const { code, message } = error
    if (code === 'ERR_SOCKS_PEER_IS_HTTP' && this.state === 'awaiting-greeting') {
      return new SocksError(code, message, { response: HTTP_HINT })
    }
    const replyCode = error.replyCode ?? REPLY_CODES[code]
    if (this.#version === 4) return this.#answeredSocks4(error, replyCode)
    if (replyCode === undefined || this.state !== 'awaiting-request') return error
    return new SocksError(code, message, { replyCode, response: encodeReply({ code: replyCode }) })
  }

  /** Whether the first message is one of SOCKS4, where that is served at all. */
  #speaksSocks4(): boolean {
    return this.#options.socks4 === true && this.state === 'awaiting-greeting' && this.peekByte(0) === SOCKS4_VERSION
  }

  #readSocks4Request(): ServerEvent | undefined {
    this.#version = 4
    const request = this.decode(decodeSocks4Request)
    if (request === undefined) return undefined
    const { command, address, userId } = request
    return { type: 'request', command, destination: toDestination(address), userId }
  }

  #answeredSocks4({ code, message }: SocksError, replyCode: number = ReplyCode.generalFailure): SocksError {
    // Nobody is there to read it.
    if (code === 'ERR_SOCKS_CONNECTION_CLOSED') return new SocksError(code, message)
    return new SocksError(code, message, { replyCode, response: encodeSocks4Answer({ code: replyCode }) })
  }

  #readGreeting(): ServerEvent | undefined {
    const greeting = this.decode(decodeGreeting)
    if (greeting === undefined) return undefined
    this.#methods = greeting.methods
    return { type: 'greeting', methods: greeting.methods }
  }

  #readCredentials(lenientVersion: boolean | undefined): ServerEvent | undefined {
    const credentials = this.decode((bytes) => decodeCredentials(bytes, 0, { lenientVersion }))
    return credentials === undefined ? undefined : { type: 'credentials', credentials }
  }

  #expectsStrayCredentials(): boolean {
    return this.#options.lenientAuthMessage === true && !this.#judged && this.peekByte(0) === AUTH_VERSION
  }

  #readRequest(): ServerEvent | undefined {
    const request = this.decode((bytes) => decodeRequest(bytes, 0, this.#options))
    if (request === undefined) return undefined
    const destination = requestDestination(request)
    return { type: 'request', command: request.command, destination }
  }

  /** RFC 1928 section 3: the server selects one of the methods given. */
  #checkMethod(method: number): void {
    assertByte(method, 'method')
    if (method === Method.noAcceptable || this.#methods.includes(method)) return
    throw new SocksError('ERR_SOCKS_ILLEGAL_MESSAGE', `the client did not offer method ${method}`)
  }
}

function encodeSocks4Answer({ code, bound }: { code: number; bound?: Address | undefined }): Uint8Array {
  const isGranted = code === ReplyCode.succeeded
  return encodeSocks4Reply({ code: isGranted ? Socks4ReplyCode.granted : Socks4ReplyCode.rejected, bound })
}

const REPLY_CODES: { readonly [code: string]: number } = {
  ERR_SOCKS_BAD_ADDRESS_TYPE: ReplyCode.addressTypeNotSupported,
  ERR_SOCKS_BAD_RESERVED: ReplyCode.generalFailure,
}

/** An empty name stands for "any address" in the commands that dial nothing. */
function requestDestination({ command, address }: Request): Destination {
  const dialsNothing = command === Command.bind || command === Command.udpAssociate
  if (dialsNothing && address.type === 'domain' && address.host === '') return anyAddress(address.port)
  try {
    return toDestination(address)
  } catch (error) {
    // Where a client will send datagrams from is neither dialed nor trusted, and some clients write nonsense (PySocks: the
    // name "0"). It is as good as nothing.
    if (command === Command.udpAssociate && isSocksError(error)) return anyAddress(0)
    throw error
  }
}

function anyAddress(port: number): Destination {
  return toDestination({ type: 'ipv4', host: '0.0.0.0', port })
}
