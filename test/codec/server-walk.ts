import { expect } from 'vitest'
import {
  type ServerMessage,
  ServerSession,
  type ServerSessionOptions,
  type ServerState,
  type SocksError,
  type SocksErrorCode,
} from '../../src/codec/index.js'
import { bytes, hex, plain } from '../support/bytes.js'
import { onlySocksErrors, socksError } from './laws.js'

/** What the client sends, as hex, or what the application says. */
export type Step = string | ServerMessage

export const GREETING = '05 04 00 02 80 81'
export const CREDENTIALS = '01 04 75736572 04 70617373'
export const CONNECT = '05 01 00 01 7f000001 0050'
export const BIND = '05 02 00 01 7f000001 0050'
export const NO_AUTH: Step[] = [GREETING, { type: 'method', method: 0x00 }]
export const USER_PASS: Step[] = [GREETING, { type: 'method', method: 0x02 }]
export const CUSTOM: Step[] = [GREETING, { type: 'method', method: 0x80 }]
export const SUCCESS: ServerMessage = { type: 'reply', code: 0 }

/** A way to every state. */
export const WAYS: Record<ServerState, readonly Step[]> = {
  'awaiting-greeting': [],
  'choosing-method': [GREETING],
  'awaiting-credentials': USER_PASS,
  'judging-credentials': [...USER_PASS, CREDENTIALS],
  authenticating: CUSTOM,
  'awaiting-request': NO_AUTH,
  'judging-request': [...NO_AUTH, CONNECT],
  listening: [...NO_AUTH, BIND, SUCCESS],
  open: [...NO_AUTH, CONNECT, SUCCESS],
  closed: [GREETING, { type: 'method', method: 0xff }],
  failed: ['04'],
}

export const STATES: readonly ServerState[] = Object.keys(WAYS).filter((key): key is ServerState => key in WAYS)

export const LEGAL: Record<ServerState, readonly ServerMessage['type'][]> = {
  'awaiting-greeting': [],
  'choosing-method': ['method'],
  'awaiting-credentials': [],
  'judging-credentials': ['authStatus'],
  authenticating: ['authData', 'authEnd'],
  'awaiting-request': [],
  'judging-request': ['reply'],
  listening: ['reply'],
  open: [],
  closed: [],
  failed: [],
}

export const MESSAGES: readonly ServerMessage[] = [
  { type: 'method', method: 0x00 },
  { type: 'method', method: 0xff },
  { type: 'authStatus', status: 0 },
  { type: 'authStatus', status: 1 },
  { type: 'authData', data: bytes('cc') },
  { type: 'authEnd' },
  { type: 'authEnd', unread: bytes('cc') },
  { type: 'reply', code: 0 },
  { type: 'reply', code: 5, bound: { type: 'domain', host: 'example.com', port: 80 } },
]

export function walk(steps: readonly Step[], options: ServerSessionOptions = {}): ServerSession {
  const session = new ServerSession(options)
  for (const step of steps) {
    if (typeof step === 'string') {
      session.receive(bytes(step))
      onlySocksErrors(() => session.nextEvent())
    } else {
      session.send(step)
    }
  }
  return session
}

export function sessionIn(state: ServerState): ServerSession {
  const session = walk(WAYS[state])
  expect(session.state).toBe(state)
  return session
}

/** Feeds hex after the given steps; the next event must fail with the code. */
export function failure(
  steps: readonly Step[],
  input: string,
  code: SocksErrorCode,
  options?: ServerSessionOptions,
): SocksError {
  const session = walk(steps, options)
  session.receive(bytes(input))
  const error = socksError(() => session.nextEvent(), code)
  expect(session.state).toBe('failed')
  return error
}

/** The event that hex brings after the given steps. */
export function event(steps: readonly Step[], input: string, options?: ServerSessionOptions): unknown {
  const session = walk(steps, options)
  session.receive(bytes(input))
  return plain(session.nextEvent())
}

/** CONNECT with ATYP 03 and the given name. */
export function connectTo(name: string, port = '0050'): string {
  const raw = Uint8Array.from(name, (character) => character.charCodeAt(0))
  return `05 01 00 03 ${hex(Uint8Array.of(raw.length))} ${hex(raw)} ${port}`
}

/** The name must be answered by one full reply of the code, and never become an event. */
export function expectRejected(name: string, replyCode: number): void {
  const error = failure(NO_AUTH, connectTo(name), 'ERR_SOCKS_INVALID_HOST')
  expect(error.replyCode, JSON.stringify(name)).toBe(replyCode)
  expect(hex(error.response!)).toBe(`050${replyCode}0001000000000000`)
}

export function destinationOf(name: string): unknown {
  const session = walk(NO_AUTH)
  session.receive(bytes(connectTo(name)))
  const request = session.nextEvent()
  return request?.type === 'request' ? request.destination : undefined
}
