import { type Duplex, duplexPair } from 'node:stream'
import { encodeGssapiFrame } from '../../src/codec/index.js'
import {
  type ClosedInfo,
  createSocksServer,
  type GssapiOptions,
  type GssContext,
  type GssStep,
  gssapi,
  type ServerOptions,
  type SocksServer,
} from '../../src/server/index.js'
import { concat, utf8 } from '../support/bytes.js'
import { hex, RawClient } from '../support/raw-client.js'
import { cleanup } from '../support/servers.js'

export const GREETING: Uint8Array = hex('05 01 01')
export const ABORT = '01ff'
export const IDENTITY = { principal: 'bob@TOY' }
/** Reply of success that a dialer of plain streams leads to. */
export const GRANTED = '05000001000000000000'

/** A frame of RFC 1961. */
export function frame(type: number, token: Uint8Array | string): Uint8Array {
  return encodeGssapiFrame({ type, token: typeof token === 'string' ? utf8(token) : token })
}

/**
 * A mechanism of three tokens each way that protects nothing. A message's token is: whether it is "encrypted" (by XOR), its
 * number, its length, itself, and the sum of all that. Both sides of a conversation are one of it each.
 */
export class ToyGss implements GssContext {
  readonly maxMessage: number | undefined
  /** Times `dispose` was called. */
  disposed = 0
  /** Calls after it. */
  usedAfter = 0
  /** `[function, length, confidential]` of each call. */
  readonly calls: [string, number, boolean][] = []
  #accepted = 0
  #wrapped = 0
  #unwrapped = 0

  constructor(maxMessage?: number) {
    this.maxMessage = maxMessage
  }

  accept(token: Uint8Array): GssStep {
    this.#note('accept', token.length, false)
    const expected = CLIENT_TOKENS[this.#accepted]
    if (expected === undefined || Buffer.compare(token, utf8(expected)) !== 0) throw new Error('not the token expected')
    const answer = SERVER_TOKENS[this.#accepted++]
    if (this.#accepted < CLIENT_TOKENS.length) return { token: utf8(answer ?? '') }
    return { identity: IDENTITY }
  }

  wrap(message: Uint8Array, confidential: boolean): Uint8Array {
    this.#note('wrap', message.length, confidential)
    const { length } = message
    const body = confidential ? message.map((byte) => byte ^ 0x33) : message
    const token = concat(Uint8Array.of(confidential ? 1 : 0, this.#wrapped++, length >> 8, length), body)
    return concat(token, Uint8Array.of(sum(token)))
  }

  unwrap(token: Uint8Array, confidential: boolean): Uint8Array {
    this.#note('unwrap', token.length, confidential)
    const [sealed = 0, number = 0, high = 0, low = 0] = token
    const body = token.subarray(4, -1)
    if (token.length < 5 || sum(token.subarray(0, -1)) !== token.at(-1)) throw new Error('forged')
    if (number !== (this.#unwrapped++ & 0xff) || body.length !== ((high << 8) | low)) throw new Error('out of order')
    if (confidential && sealed !== 1) throw new Error('not encrypted')
    return sealed === 1 ? body.map((byte) => byte ^ 0x33) : body
  }

  dispose(): void {
    this.disposed++
  }

  #note(name: string, length: number, confidential: boolean): void {
    if (this.disposed > 0) this.usedAfter++
    this.calls.push([name, length, confidential])
  }
}

const CLIENT_TOKENS = ['hello', '', 'proof of bob']
const SERVER_TOKENS = ['who is there', 'prove it']

function sum(bytes: Uint8Array): number {
  return bytes.reduce((total, byte) => (total * 31 + byte) & 0xff, 7)
}

/** The client's tokens, and what a server answers to all of them. */
export const CONTEXT: Uint8Array = concat(...CLIENT_TOKENS.map((token) => frame(1, token)))
export const CONTEXT_ANSWER: string = Buffer.from(
  concat(...SERVER_TOKENS.map((token) => frame(1, token)), frame(1, '')),
).toString('hex')

/** The client's side of a conversation: frames out of bytes and bytes out of frames. */
export class ToyClient {
  readonly raw: RawClient
  readonly gss = new ToyGss()
  readonly #seals: boolean

  constructor(raw: RawClient, level: number) {
    this.raw = raw
    this.#seals = level > 1
  }

  /** The frame that asks for a level. */
  level(level: number): Uint8Array {
    return frame(2, this.gss.wrap(Uint8Array.of(level), false))
  }

  /** A frame of data. */
  data(bytes: Uint8Array): Uint8Array {
    return frame(3, this.gss.wrap(bytes, this.#seals))
  }

  /** The next frame's type and token; `undefined` at the end. */
  async frame(): Promise<{ type: number; token: Uint8Array } | undefined> {
    const head = hex(await this.raw.read(2))
    if (head.length < 2) return undefined
    const type = head[1] ?? 0
    if (type === 0xff) return { type, token: hex('') }
    const length = hex(await this.raw.read(2)).readUInt16BE()
    const token = Uint8Array.from(hex(await this.raw.read(length)))
    if (token.length < length) throw new Error('the last frame is not whole')
    return { type, token }
  }

  /** What is in the next frames, until there are `count` bytes of it, or the end. */
  async read(count: number): Promise<Buffer> {
    const parts: Uint8Array[] = []
    for (let length = 0; length < count; ) {
      const next = await this.frame()
      if (next === undefined) break
      if (next.type !== 3) throw new Error(`a frame of type ${next.type}`)
      const part = this.gss.unwrap(next.token, this.#seals)
      parts.push(part)
      length += part.length
    }
    return Buffer.concat(parts)
  }

  /** Chooses the method, establishes a context and a level, and sees the answers. */
  async negotiate(level: number): Promise<void> {
    this.raw.write(concat(GREETING, CONTEXT, this.level(level)))
    const answer = await this.raw.read(2 + CONTEXT_ANSWER.length / 2)
    if (answer !== `0501${CONTEXT_ANSWER}`) throw new Error(`answered ${answer}`)
    const agreed = await this.frame()
    if (agreed?.type !== 2) throw new Error('no answer to the level')
    const [chosen] = this.gss.unwrap(agreed.token, false)
    if (chosen !== level) throw new Error(`answered level ${chosen}`)
  }
}

/** What a server in memory is made of; its target sends back what it gets unless `dial` is given. */
export interface InMemory {
  readonly server: SocksServer
  readonly errors: Error[]
  readonly closed: Promise<ClosedInfo>
  readonly near: Duplex
  readonly raw: RawClient
  readonly contexts: ToyGss[]
}

/** A server with the toy for a mechanism, and one client of it, all in memory. */
export function inMemory(gss: Partial<GssapiOptions> = {}, options: ServerOptions = {}): InMemory {
  const contexts: ToyGss[] = []
  const method = gssapi({
    createContext: () => {
      const context = new ToyGss()
      contexts.push(context)
      return context
    },
    protection: ['confidentiality', 'integrity', 'selective', 'none'],
    ...gss,
  })
  const server = createSocksServer({
    auth: method,
    dial: () => {
      const [near, far] = duplexPair()
      far.pipe(far)
      return near
    },
    ...options,
  })
  const errors: Error[] = []
  server.on('error', (error) => errors.push(error))
  const closed = new Promise<ClosedInfo>((resolve) => server.once('closed', resolve))
  const [near, far] = duplexPair()
  const raw = new RawClient(far)
  server.handle(near, { clientAddress: '127.0.0.1' })
  // In memory a stream is not told that its other end was destroyed.
  near.on('close', () => far.readableEnded || far.push(null))
  cleanup(() => server.close({ graceMs: 0 }))
  return { server, errors, closed, near, raw, contexts }
}
