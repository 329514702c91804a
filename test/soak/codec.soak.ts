// Garbage and mutated conversations, in any volume, against everything of the codec that reads a peer's bytes.

import fc from 'fast-check'
import {
  ClientSession,
  type ClientState,
  type Decoded,
  decodeAddress,
  decodeCredentials,
  decodeGreeting,
  decodeGssapiFrame,
  decodeMethodSelection,
  decodeProxyHeader,
  decodeReply,
  decodeRequest,
  decodeSocks4Reply,
  decodeSocks4Request,
  decodeUdpDatagram,
  decodeUserPassStatus,
  parseDestination,
  ServerSession,
  type ServerSessionOptions,
  type ServerState,
  SocksError,
} from '../../src/codec/index.js'
import { converse, cutBy } from '../codec/conversation.js'
import { byte, conversation, garbage, sizes } from '../support/arbitraries.js'
import { concat, hex } from '../support/bytes.js'

const SERVER_STATES: Record<ServerState, true> = {
  'awaiting-greeting': true,
  'choosing-method': true,
  'awaiting-credentials': true,
  'judging-credentials': true,
  authenticating: true,
  'awaiting-request': true,
  'judging-request': true,
  listening: true,
  open: true,
  closed: true,
  failed: true,
}

const CLIENT_STATES: Record<ClientState, true> = {
  initial: true,
  'awaiting-method': true,
  'sending-credentials': true,
  'awaiting-status': true,
  authenticating: true,
  'sending-request': true,
  'awaiting-reply': true,
  'awaiting-peer-reply': true,
  open: true,
  closed: true,
  failed: true,
}

/** Small enough that some of the streams run into it. */
const RECEIVE_LIMIT = 256

/** What the application does where it has a choice. */
interface Whims {
  /** A small number, used wherever one of several things can be done. */
  readonly pick: number
  readonly options: ServerSessionOptions
  /** Whether the peer's FIN follows its bytes. */
  readonly ends: boolean
}

const whims: fc.Arbitrary<Whims> = fc.record({
  pick: fc.nat(63),
  options: fc.record({
    lenientAuthVersion: fc.boolean(),
    lenientAuthMessage: fc.boolean(),
    strictReserved: fc.boolean(),
    socks4: fc.boolean(),
    receiveLimit: fc.constantFrom(RECEIVE_LIMIT, 65_536),
  }),
  ends: fc.boolean(),
})

interface Mutation {
  readonly kind: 'flip' | 'insert' | 'delete' | 'duplicate' | 'truncate'
  /** Where, as a fraction of the stream; most of what is read stands at its beginning. */
  readonly at: number
  readonly value: number
  readonly length: number
}

const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom('flip', 'insert', 'delete', 'duplicate', 'truncate'),
  at: fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 0.2, noNaN: true })),
  value: byte,
  length: fc.integer({ min: 1, max: 8 }),
})

const mutations = fc.array(mutation, { minLength: 1, maxLength: 4 })

/**
 * Runs each property (garbage, and mutated conversations) `runs` times. Nothing but a SocksError may come out, every
 * loop ends, every state is a known one and no inbox grows beyond its bound.
 * @throws Error that names the seed, to be given back for the same run.
 */
export async function soakCodec({
  runs,
  seed = Math.floor(Math.random() * 2 ** 31),
}: {
  runs: number
  seed?: number
}): Promise<{ runs: number; seed: number }> {
  const parameters = { numRuns: runs, seed }
  try {
    fc.assert(
      fc.property(garbage(400), sizes, whims, (stream, chunks, choice) => {
        readEverything(stream, choice)
        serve(stream, chunks, choice)
        connect(stream, chunks, choice, { methods: [0x00, 0x02, 0x80], command: choice.pick & 3 })
      }),
      parameters,
    )
    fc.assert(
      fc.property(conversation, mutations, sizes, whims, (script, changes, chunks, choice) => {
        const { fromClient, fromServer } = converse(script)
        const client = changes.reduce(mutate, fromClient)
        const server = changes.reduce(mutate, fromServer)
        readEverything(client, choice)
        readEverything(server, choice)
        serve(client, chunks, choice)
        connect(server, chunks, choice, { methods: script.offered, command: script.command })
      }),
      parameters,
    )
  } catch (error) {
    throw new Error(`the codec failed; run it again with seed ${seed}`, { cause: error })
  }
  return { runs, seed }
}

function mutate(stream: Uint8Array, { kind, at, value, length }: Mutation): Uint8Array {
  const index = Math.floor(at * stream.length)
  const before = stream.subarray(0, index)
  const after = stream.subarray(index)
  switch (kind) {
    case 'flip':
      return concat(before, Uint8Array.of((after[0] ?? 0) ^ (value || 1)), after.subarray(1))
    case 'insert':
      return concat(before, new Uint8Array(length).fill(value), after)
    case 'delete':
      return concat(before, after.subarray(length))
    case 'duplicate':
      return concat(before, after.subarray(0, length), after)
    case 'truncate':
      return before
  }
}

/** Every decoder at every message's place in the stream, and at one of no message. */
function readEverything(stream: Uint8Array, { pick, options }: Whims): void {
  const untouched = hex(stream)
  for (const offset of [0, pick]) {
    const room = Math.max(0, stream.length - offset)
    const decoders: readonly (() => Decoded<unknown> | undefined)[] = [
      () => decodeGreeting(stream, offset),
      () => decodeMethodSelection(stream, offset),
      () => decodeCredentials(stream, offset, { lenientVersion: options.lenientAuthVersion }),
      () => decodeUserPassStatus(stream, offset),
      () => decodeRequest(stream, offset, options),
      () => decodeReply(stream, offset),
      () => decodeUdpDatagram(stream, offset),
      () => decodeAddress(stream, offset),
      () => decodeSocks4Request(stream, offset),
      () => decodeSocks4Reply(stream, offset),
      () => decodeProxyHeader(stream, offset),
      () => decodeGssapiFrame(stream, offset),
    ]
    for (const decode of decoders) {
      const decoded = orSocksError(decode)
      if (decoded === undefined) continue
      assert(decoded.bytesRead > 0 && decoded.bytesRead <= room, 'a decoder read beyond its bytes')
    }
  }
  assert(hex(stream) === untouched, 'a decoder changed its input')
  const name = String.fromCharCode(...stream.subarray(0, 300))
  const destination = orSocksError(() => parseDestination(name, pick))
  assert(destination === undefined || /^[0-9a-z_.:-]{1,253}$/.test(destination.host), 'a host is not canonical')
}

/** A server that answers whatever it is asked, as its whims have it. */
function serve(stream: Uint8Array, chunks: readonly number[], { pick, options, ends }: Whims): void {
  const session = new ServerSession(options)
  drive(session, SERVER_STATES, stream, { chunks, ends, limit: options.receiveLimit }, (event) => {
    switch (event.type) {
      case 'greeting': {
        const method = pick % 5 === 0 ? 0xff : (event.methods[pick % Math.max(1, event.methods.length)] ?? 0xff)
        session.send({ type: 'method', method })
        break
      }
      case 'credentials':
        session.send({ type: 'authStatus', status: pick % 4 === 0 ? 1 : 0 })
        break
      case 'authData':
        session.send({ type: 'authData', data: event.data })
        if (pick % 3 !== 0) session.send({ type: 'authEnd', unread: event.data.subarray(pick % 8) })
        break
      case 'request':
        session.send({ type: 'reply', code: pick % 4 === 0 ? 5 : 0, bound: event.destination })
        if (session.state === 'listening' && pick % 2 === 0) session.send({ type: 'reply', code: 0 })
        break
      case 'end':
        break
    }
  })
}

/** A client that goes on with whatever the proxy lets it. */
function connect(
  stream: Uint8Array,
  chunks: readonly number[],
  { pick, options, ends }: Whims,
  { methods, command }: { methods: readonly number[]; command: number },
): void {
  const session = new ClientSession(options)
  const request = { type: 'request', command, destination: { host: 'example.com', port: pick } } as const
  session.send(options.socks4 ? request : { type: 'greeting', methods })
  drive(session, CLIENT_STATES, stream, { chunks, ends, limit: options.receiveLimit }, (event) => {
    switch (event.type) {
      case 'method':
        if (session.state === 'sending-request') session.send(request)
        if (session.state === 'sending-credentials') {
          session.send({ type: 'credentials', username: stream.subarray(0, pick), password: stream.subarray(0, 3) })
        }
        break
      case 'authStatus':
        session.send(request)
        break
      case 'authData':
        session.send({ type: 'authEnd', unread: event.data.subarray(pick % 8) })
        session.send(request)
        break
      case 'reply':
        break
    }
  })
}

interface Driven<Event> {
  readonly state: string
  receive(chunk: Uint8Array): void
  receiveEnd(): void
  nextEvent(): Event | undefined
  takeRemaining(): Uint8Array
}

function drive<Event>(
  session: Driven<Event>,
  states: Readonly<Record<string, true>>,
  stream: Uint8Array,
  { chunks, ends, limit = 0 }: { chunks: readonly number[]; ends: boolean; limit?: number | undefined },
  react: (event: Event) => void,
): void {
  // Every event takes at least one byte, but for the end; what a custom method gives back is taken twice at most.
  let patience = 2 * stream.length + 2
  const drain = (): void => {
    orSocksError(() => {
      for (let event = session.nextEvent(); event !== undefined; event = session.nextEvent()) {
        assert(patience-- > 0, 'nextEvent does not come to an end')
        react(event)
      }
    })
    assert(states[session.state] === true, `unknown state ${session.state}`)
  }
  let longest = 0
  for (const chunk of cutBy(chunks)(stream, 0)) {
    longest = Math.max(longest, chunk.length)
    orSocksError(() => session.receive(chunk))
    drain()
  }
  if (ends) {
    session.receiveEnd()
    drain()
  }
  const waiting = session.takeRemaining().length
  assert(waiting <= stream.length, 'bytes came out that never came in')
  assert(waiting < limit + longest, 'the inbox is not bounded')
  drain()
  assert(session.takeRemaining().length === 0, 'bytes came out twice')
}

/** What the call returns, or `undefined` for a SocksError. Everything else is a failure of the codec. */
function orSocksError<T>(call: () => T): T | undefined {
  try {
    return call()
  } catch (error) {
    if (error instanceof SocksError) return undefined
    throw error
  }
}

function assert(condition: boolean, message: string): void {
  if (!condition) throw new Error(message)
}
