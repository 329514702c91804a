// The client's half of a SOCKS5 handshake as a state machine without a socket; the mirror of server-session.ts.

import type { Address } from './address.js'
import { outOfRange } from './arguments.js'
import {
  AUTH_VERSION,
  AuthStatus,
  Command,
  Method,
  ReplyCode,
  SOCKS4_VERSION,
  Socks4ReplyCode,
  VERSION,
} from './constants.js'
import { type Destination, parseDestination } from './destination.js'
import { assertNever, SocksError } from './errors.js'
import { decodeMethodSelection, encodeGreeting } from './greeting.js'
import { decodeReply, replyError } from './reply.js'
import { encodeRequest } from './request.js'
import { Session, type SessionOptions, type TransitionTable } from './session.js'
import { decodeSocks4Reply, encodeSocks4Request } from './socks4.js'
import { type Credentials, decodeUserPassStatus, encodeCredentials } from './userpass.js'

/** What a {@link ClientSession} tells. Refusals are thrown, so every event is good news. */
export type ClientEvent =
  | { readonly type: 'method'; readonly method: number }
  | { readonly type: 'authStatus' }
  /** Raw bytes for a custom method; whatever it does not use goes back with `authEnd`. */
  | { readonly type: 'authData'; readonly data: Uint8Array }
  /** Success. For BIND there are two: the listener's address, then the peer's. */
  | { readonly type: 'reply'; readonly bound: Address }

/** What a {@link ClientSession} can be told to say. */
export type ClientMessage =
  | { readonly type: 'greeting'; readonly methods: readonly number[] }
  | ({ readonly type: 'credentials' } & Credentials)
  | { readonly type: 'authData'; readonly data: Uint8Array }
  /** A custom method has succeeded; nothing is sent. */
  | { readonly type: 'authEnd'; readonly unread?: Uint8Array | undefined }
  | ClientRequest

/** What to ask for. */
export interface ClientRequest {
  readonly type: 'request'
  readonly command: number
  readonly destination: Pick<Destination, 'host' | 'port'>
  /** USERID, of SOCKS4 alone: 0 to 255 bytes without NUL. Default: none. */
  readonly userId?: Uint8Array | undefined
}

/** Options of {@link ClientSession}. */
export interface ClientSessionOptions extends SessionOptions {
  /** Speak SOCKS4, and SOCKS4a for names: the request is the first message. Default `false`. */
  readonly socks4?: boolean | undefined
  /**
   * Speak ahead: greeting, credentials and request are sent before the proxy has said anything, and its answers read then.
   * The greeting offers one method, 00 or 02, so that what follows is known. Default `false`; SOCKS4 has one message anyway.
   */
  readonly optimistic?: boolean | undefined
}

/** Where a {@link ClientSession} stands. */
export type ClientState =
  | 'initial'
  | 'awaiting-method'
  | 'sending-credentials'
  | 'awaiting-status'
  | 'authenticating'
  | 'sending-request'
  | 'awaiting-reply'
  | 'awaiting-peer-reply'
  | 'open'
  | 'closed'
  | 'failed'

const TRANSITIONS: TransitionTable<ClientState> = {
  initial: { greeting: 'awaiting-method' },
  'awaiting-method': { method: afterMethod },
  'sending-credentials': { credentials: 'awaiting-status' },
  'awaiting-status': { authStatus: 'sending-request' },
  authenticating: { authData: 'authenticating', authEnd: 'sending-request' },
  'sending-request': { request: 'awaiting-reply' },
  'awaiting-reply': { reply: afterReply },
  // BIND between its two replies. RFC 1928 section 4.
  'awaiting-peer-reply': { reply: 'open' },
  open: {},
  closed: {},
  failed: {},
}

/** All that the client says, and then all that it hears. */
const OPTIMISTIC_TRANSITIONS: TransitionTable<ClientState> = {
  ...TRANSITIONS,
  initial: { greeting: afterMethod },
  'sending-credentials': { credentials: 'sending-request' },
  'sending-request': { request: 'awaiting-method' },
  'awaiting-method': { method: (method) => (method === Method.userPass ? 'awaiting-status' : 'awaiting-reply') },
  'awaiting-status': { authStatus: 'awaiting-reply' },
}

function afterMethod(method: number): ClientState {
  if (method === Method.noAuth) return 'sending-request'
  return method === Method.userPass ? 'sending-credentials' : 'authenticating'
}

function afterReply(_code: number, command: number): ClientState {
  if (command === Command.bind) return 'awaiting-peer-reply'
  // Tor's look-ups end with their answer.
  return command === Command.resolve || command === Command.resolvePtr ? 'closed' : 'open'
}

/** One handshake with a proxy, seen from the client. */
export class ClientSession extends Session<ClientState, ClientEvent, ClientMessage> {
  readonly #socks4: boolean
  readonly #optimistic: boolean
  #offered: readonly number[] = []

  constructor(options: ClientSessionOptions = {}) {
    const { socks4 = false, optimistic = false } = options
    super(optimistic && !socks4 ? OPTIMISTIC_TRANSITIONS : TRANSITIONS, socks4 ? 'sending-request' : 'initial', options)
    this.#socks4 = socks4
    this.#optimistic = optimistic
  }

  protected override read(): ClientEvent | undefined {
    switch (this.state) {
      case 'awaiting-method':
        return this.#readMethod()
      case 'awaiting-status':
        return this.#readStatus()
      case 'authenticating':
        return this.takeAuthData()
      default:
        return this.#socks4 ? this.#readSocks4Reply() : this.#readReply()
    }
  }

  protected override readEnd(): never {
    throw new SocksError(
      'ERR_SOCKS_CONNECTION_CLOSED',
      'the proxy closed the connection in the middle of the handshake',
    )
  }

  protected override encode(message: ClientMessage): Uint8Array {
    switch (message.type) {
      case 'greeting': {
        if (this.#optimistic) assertOneMethod(message.methods)
        const bytes = encodeGreeting(message)
        this.#offered = [...message.methods]
        return bytes
      }
      case 'credentials':
        return encodeCredentials(message)
      case 'authData':
        return message.data
      case 'authEnd':
        this.giveBack(message.unread)
        return new Uint8Array(0)
      case 'request': {
        const { host, port } = message.destination
        const address = parseDestination(host, port)
        return this.#socks4
          ? encodeSocks4Target(address, message)
          : encodeRequest({ command: message.command, address })
      }
      default:
        return assertNever(message)
    }
  }

  #readMethod(): ClientEvent | undefined {
    if (this.#isMethodLost()) return { type: 'method', method: Method.userPass }
    const selection = this.decode(decodeMethodSelection)
    if (selection === undefined) return undefined
    const { method } = selection
    if (method === Method.noAcceptable) {
      throw new SocksError(
        'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
        `the proxy accepts none of the offered methods: ${this.#offered.map(methodName).join(', ')}`,
      )
    }
    if (!this.#offered.includes(method)) {
      throw new SocksError('ERR_SOCKS_METHOD_NOT_OFFERED', `the proxy chose method ${method}, which was not offered`)
    }
    return { type: 'method', method }
  }

  /** Tor (0.4.9) answers a greeting and credentials that come together with the status alone; it says as much. */
  #isMethodLost(): boolean {
    return this.#optimistic && this.#offered.includes(Method.userPass) && this.peekByte(0) === AUTH_VERSION
  }

  #readStatus(): ClientEvent | undefined {
    const answer = this.decode(decodeUserPassStatus)
    if (answer === undefined) return undefined
    const { status } = answer
    if (status === AuthStatus.success) return { type: 'authStatus' }
    throw new SocksError('ERR_SOCKS_AUTH_FAILED', 'the proxy refused the credentials', { status })
  }

  #readSocks4Reply(): ClientEvent | undefined {
    const version = this.peekByte(0)
    const code = this.peekByte(1)
    const isReply = version === 0x00 || version === SOCKS4_VERSION
    if (isReply && code !== undefined && code !== Socks4ReplyCode.granted) throw socks4Refusal(code)
    const reply = this.decode(decodeSocks4Reply)
    return reply === undefined ? undefined : { type: 'reply', bound: reply.bound }
  }

  #readReply(): ClientEvent | undefined {
    const code = this.peekByte(1)
    // Some servers send two or three bytes of a failure and stall: the code alone decides.
    if (this.peekByte(0) === VERSION && code !== undefined && code !== ReplyCode.succeeded) throw replyError(code)
    const reply = this.decode(decodeReply)
    return reply === undefined ? undefined : { type: 'reply', bound: reply.bound }
  }
}

/** @throws RangeError where what follows would depend on the proxy. */
function assertOneMethod(methods: readonly number[]): void {
  const [method, ...others] = methods
  if (others.length === 0 && (method === Method.noAuth || method === Method.userPass)) return
  throw outOfRange('an optimistic greeting offers one method: no authentication, or username and password')
}

/** A request of SOCKS4. @throws SocksError for what it has no room for. */
function encodeSocks4Target(address: Destination, { command, userId = NO_USER_ID }: ClientRequest): Uint8Array {
  if (address.type === 'ipv6') {
    const replyCode = ReplyCode.addressTypeNotSupported
    throw new SocksError('ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED', 'SOCKS4 has no IPv6 addresses', { replyCode })
  }
  // It would be read as the sign that a name follows.
  if (/^0\.0\.0\.[1-9]/.test(address.host)) {
    const replyCode = ReplyCode.hostUnreachable
    throw new SocksError('ERR_SOCKS_INVALID_HOST', 'SOCKS4 cannot tell 0.0.0.x from a name', { replyCode })
  }
  return encodeSocks4Request({ command, address, userId })
}

const NO_USER_ID: Uint8Array = new Uint8Array(0)

/** SOCKS4 says no in one way for all reasons, but for two about the user. `status` holds its byte. */
function socks4Refusal(status: number): SocksError {
  const isAboutUser = status === Socks4ReplyCode.noIdentd || status === Socks4ReplyCode.identityMismatch
  if (isAboutUser) return new SocksError('ERR_SOCKS_AUTH_FAILED', 'the proxy does not accept the user', { status })
  const replyCode = ReplyCode.generalFailure
  return new SocksError('ERR_SOCKS_GENERAL_FAILURE', 'the proxy refused or failed', { status, replyCode })
}

function methodName(method: number): string {
  if (method === Method.noAuth) return 'no authentication'
  return method === Method.userPass ? 'username and password' : `method ${method}`
}
