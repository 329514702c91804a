// Two sessions without a network between them: applications that keep to a script, and streams cut at will.

import {
  type Address,
  type ClientEvent,
  type ClientMessage,
  ClientSession,
  Command,
  type Credentials,
  Method,
  type ServerEvent,
  type ServerMessage,
  ServerSession,
  type ServerSessionOptions,
  SocksError,
} from '../../src/codec/index.js'
import { concat, hex, plain } from '../support/bytes.js'

/** All that both applications are going to say. */
export interface Conversation {
  /** Methods in the greeting. */
  readonly offered: readonly number[]
  /** The one that the server picks. */
  readonly method: number
  /** For method 02; `status` is the server's judgement of them. */
  readonly credentials?: Credentials | undefined
  readonly status?: number | undefined
  /** For every method that is neither 00 nor 02: one message of each side, the client's first. */
  readonly tokens?: { readonly client: Uint8Array; readonly server: Uint8Array } | undefined
  readonly command: number
  /** In canonical form. */
  readonly destination: Address
  /** Two for BIND, if the first is a success. */
  readonly replies: readonly { readonly code: number; readonly bound: Address }[]
  readonly clientPayload: Uint8Array
  readonly serverPayload: Uint8Array
}

/** What one side saw. Bytes are hex. */
export interface Outcome {
  readonly events: readonly unknown[]
  readonly state: string
  /** The peer's payload. */
  readonly payload: string
}

const NOTHING: Uint8Array = new Uint8Array(0)

interface Speaker<Event, Message> {
  readonly state: string
  receive(chunk: Uint8Array): void
  receiveEnd(): void
  nextEvent(): Event | undefined
  send(message: Message): Uint8Array
  takeRemaining(): Uint8Array
}

interface Reaction<Message> {
  /** What to note of the event; absent while a token is incomplete. */
  readonly note?: unknown
  readonly say: readonly Message[]
}

/** A session and the application that drives it. Every call returns the bytes that it makes the application send. */
export class End<Event, Message> {
  readonly session: Speaker<Event, Message>
  readonly #events: unknown[] = []
  readonly #react: (event: Event) => Reaction<Message>
  readonly #greeting: Uint8Array
  #payload: Uint8Array
  #received: Uint8Array = NOTHING

  constructor(
    session: Speaker<Event, Message>,
    react: (event: Event) => Reaction<Message>,
    payload: Uint8Array,
    opening: readonly Message[] = [],
  ) {
    this.session = session
    this.#react = react
    this.#payload = payload
    this.#greeting = concat(...opening.map((message) => session.send(message)))
  }

  /** What this side says before it hears anything. */
  start(): Uint8Array {
    return this.#greeting
  }

  receive(chunk: Uint8Array): Uint8Array {
    this.session.receive(chunk)
    return this.#drain()
  }

  receiveEnd(): Uint8Array {
    this.session.receiveEnd()
    return this.#drain()
  }

  get outcome(): Outcome {
    return { events: this.#events, state: this.session.state, payload: hex(this.#received) }
  }

  #drain(): Uint8Array {
    if (this.session.state === 'failed') return NOTHING
    const said: Uint8Array[] = []
    try {
      for (let event = this.session.nextEvent(); event !== undefined; event = this.session.nextEvent()) {
        const { note, say } = this.#react(event)
        if (note !== undefined) this.#events.push(plain(note))
        for (const message of say) said.push(this.session.send(message))
      }
    } catch (error) {
      if (!(error instanceof SocksError)) throw error
      this.#events.push(noteOf(error))
      said.push(error.response ?? NOTHING)
    }
    if (this.session.state === 'open') {
      this.#received = concat(this.#received, this.session.takeRemaining())
      said.push(this.#payload)
      this.#payload = NOTHING
    }
    return concat(...said)
  }
}

export type ServerEnd = End<ServerEvent, ServerMessage>
export type ClientEnd = End<ClientEvent, ClientMessage>

export function serverEnd(conversation: Conversation, options: ServerSessionOptions = {}): ServerEnd {
  const { method, status = 0, tokens, replies } = conversation
  let heard: Uint8Array = NOTHING
  const react = (event: ServerEvent): Reaction<ServerMessage> => {
    switch (event.type) {
      case 'greeting':
        return { note: event, say: [{ type: 'method', method }] }
      case 'credentials':
        return { note: event, say: [{ type: 'authStatus', status }] }
      case 'authData': {
        heard = concat(heard, event.data)
        const wanted = tokens?.client.length ?? 0
        if (heard.length < wanted) return { say: [] }
        return {
          note: { type: 'token', data: heard.subarray(0, wanted) },
          say: [
            { type: 'authData', data: tokens?.server ?? NOTHING },
            { type: 'authEnd', unread: heard.subarray(wanted) },
          ],
        }
      }
      case 'request':
        return { note: event, say: replies.map((reply) => ({ type: 'reply', ...reply })) }
      case 'end':
        return { note: event, say: [] }
    }
  }
  return new End(new ServerSession(options), react, conversation.serverPayload)
}

export function clientEnd(conversation: Conversation): ClientEnd {
  const { offered, credentials, tokens, command, destination } = conversation
  const request: ClientMessage = { type: 'request', command, destination }
  let heard: Uint8Array = NOTHING
  const react = (event: ClientEvent): Reaction<ClientMessage> => {
    switch (event.type) {
      case 'method':
        if (tokens !== undefined) return { note: event, say: [{ type: 'authData', data: tokens.client }] }
        return { note: event, say: [credentials === undefined ? request : { type: 'credentials', ...credentials }] }
      case 'authStatus':
        return { note: event, say: [request] }
      case 'authData': {
        heard = concat(heard, event.data)
        const wanted = tokens?.server.length ?? 0
        if (heard.length < wanted) return { say: [] }
        return {
          note: { type: 'token', data: heard.subarray(0, wanted) },
          say: [{ type: 'authEnd', unread: heard.subarray(wanted) }, request],
        }
      }
      case 'reply':
        return { note: event, say: [] }
    }
  }
  const greeting: ClientMessage = { type: 'greeting', methods: offered }
  return new End(new ClientSession(), react, conversation.clientPayload, [greeting])
}

/** Cuts a piece of a stream into chunks; `position` is where in the stream the piece begins. */
export type Cut = (piece: Uint8Array, position: number) => Uint8Array[]

export const whole: Cut = (piece) => [piece]

export const byteByByte: Cut = (piece) => Array.from(piece, (byte) => Uint8Array.of(byte))

/** One extra cut, at a position of the whole stream. */
export function cutAt(split: number): Cut {
  return (piece, position) => {
    const at = split - position
    return at > 0 && at < piece.length ? [piece.subarray(0, at), piece.subarray(at)] : [piece]
  }
}

/** Chunks of the given sizes, over and over. */
export function cutBy(sizes: readonly number[]): Cut {
  let turn = 0
  return (piece) => {
    const chunks: Uint8Array[] = []
    for (let offset = 0; offset < piece.length; ) {
      const size = sizes[turn++ % sizes.length] ?? 1
      chunks.push(piece.subarray(offset, offset + size))
      offset += size
    }
    return chunks
  }
}

export interface Transcript {
  readonly server: Outcome
  readonly client: Outcome
  /** Everything that each side has sent. */
  readonly fromServer: Uint8Array
  readonly fromClient: Uint8Array
}

/** Lets both ends talk until neither has anything left to say. */
export function converse(conversation: Conversation, toServer: Cut = whole, toClient: Cut = whole): Transcript {
  const server = serverEnd(conversation)
  const client = clientEnd(conversation)
  let fromServer: Uint8Array = NOTHING
  let fromClient: Uint8Array = NOTHING
  let outbound = client.start()
  let inbound: Uint8Array = NOTHING
  while (outbound.length > 0 || inbound.length > 0) {
    const heard = toServer(outbound, fromClient.length)
    fromClient = concat(fromClient, outbound)
    inbound = concat(inbound, ...heard.map((chunk) => server.receive(chunk)))
    const answers = toClient(inbound, fromServer.length)
    fromServer = concat(fromServer, inbound)
    inbound = NOTHING
    outbound = concat(...answers.map((chunk) => client.receive(chunk)))
  }
  return { server: server.outcome, client: client.outcome, fromServer, fromClient }
}

/** What both sides must see, told from the script alone. */
export function expected(conversation: Conversation): { server: Outcome; client: Outcome } {
  const { offered, method, credentials, status = 0, tokens, command, destination, replies } = conversation
  const server: unknown[] = [{ type: 'greeting', methods: offered }]
  const client: unknown[] = []
  const result = (serverState: string, clientState: string) => {
    const open = clientState === 'open'
    return {
      server: { events: server.map(plain), state: serverState, payload: open ? hex(conversation.clientPayload) : '' },
      client: { events: client.map(plain), state: clientState, payload: open ? hex(conversation.serverPayload) : '' },
    }
  }
  if (method === Method.noAcceptable) {
    client.push({ type: 'error', code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD' })
    return result('closed', 'failed')
  }
  client.push({ type: 'method', method })
  if (credentials !== undefined) {
    server.push({ type: 'credentials', credentials })
    if (status !== 0) {
      client.push({ type: 'error', code: 'ERR_SOCKS_AUTH_FAILED', status })
      return result('closed', 'failed')
    }
    client.push({ type: 'authStatus' })
  }
  if (tokens !== undefined) {
    server.push({ type: 'token', data: tokens.client })
    client.push({ type: 'token', data: tokens.server })
  }
  server.push({ type: 'request', command, destination })
  for (const { code, bound } of replies) {
    if (code !== 0) {
      client.push({ type: 'error', code: REPLY_ERRORS[code] ?? unnamed(code), replyCode: code })
      return result('closed', 'failed')
    }
    client.push({ type: 'reply', bound })
  }
  const lookUp = command === Command.resolve || command === Command.resolvePtr
  return lookUp ? result('closed', 'closed') : result('open', 'open')
}

const REPLY_ERRORS = [
  '',
  'ERR_SOCKS_GENERAL_FAILURE',
  'ERR_SOCKS_NOT_ALLOWED',
  'ERR_SOCKS_NETWORK_UNREACHABLE',
  'ERR_SOCKS_HOST_UNREACHABLE',
  'ERR_SOCKS_CONNECTION_REFUSED',
  'ERR_SOCKS_TTL_EXPIRED',
  'ERR_SOCKS_COMMAND_NOT_SUPPORTED',
  'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED',
]

function unnamed(code: number): string {
  return code >= 0xf0 && code <= 0xf7 ? 'ERR_SOCKS_TOR_REPLY' : 'ERR_SOCKS_UNASSIGNED_REPLY'
}

function noteOf({ code, replyCode, status }: SocksError): object {
  return {
    type: 'error',
    code,
    ...(replyCode === undefined ? {} : { replyCode }),
    ...(status === undefined ? {} : { status }),
  }
}
