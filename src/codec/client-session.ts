// The client's half of a SOCKS5 handshake as a state machine without a socket; the mirror of server-session.ts.

import type { Address } from './address.js'
import { AuthStatus, Command, Method, ReplyCode, VERSION } from './constants.js'
import { type Destination, parseDestination } from './destination.js'
import { assertNever, SocksError } from './errors.js'
import { decodeMethodSelection, encodeGreeting } from './greeting.js'
import { decodeReply, replyError } from './reply.js'
import { encodeRequest } from './request.js'
import { Session, type SessionOptions, type TransitionTable } from './session.js'
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
  | { readonly type: 'request'; readonly command: number; readonly destination: Pick<Destination, 'host' | 'port'> }

/** Options of {@link ClientSession}. */
export type ClientSessionOptions = SessionOptions

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
  #offered: readonly number[] = []

  constructor(options: ClientSessionOptions = {}) {
    super(TRANSITIONS, 'initial', options)
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
        return this.#readReply()
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
        return encodeRequest({ command: message.command, address: parseDestination(host, port) })
      }
      default:
        return assertNever(message)
    }
  }

  #readMethod(): ClientEvent | undefined {
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

  #readStatus(): ClientEvent | undefined {
    const answer = this.decode(decodeUserPassStatus)
    if (answer === undefined) return undefined
    const { status } = answer
    if (status === AuthStatus.success) return { type: 'authStatus' }
    throw new SocksError('ERR_SOCKS_AUTH_FAILED', 'the proxy refused the credentials', { status })
  }

  #readReply(): ClientEvent | undefined {
    const code = this.peekByte(1)
    // Some servers send two or three bytes of a failure and stall: the code alone decides.
    if (this.peekByte(0) === VERSION && code !== undefined && code !== ReplyCode.succeeded) throw replyError(code)
    const reply = this.decode(decodeReply)
    return reply === undefined ? undefined : { type: 'reply', bound: reply.bound }
  }
}

function methodName(method: number): string {
  if (method === Method.noAuth) return 'no authentication'
  return method === Method.userPass ? 'username and password' : `method ${method}`
}
