import { expect } from 'vitest'
import {
  type ClientMessage,
  ClientSession,
  type ClientState,
  credentialsFromText,
  type SocksError,
  type SocksErrorCode,
} from '../../src/codec/index.js'
import { bytes, plain } from '../support/bytes.js'
import { onlySocksErrors, socksError } from './laws.js'

/** What the proxy sends, as hex, or what the application says. */
export type Step = string | ClientMessage

export const GREETING: ClientMessage = { type: 'greeting', methods: [0x00, 0x02, 0x80] }
export const CREDENTIALS: ClientMessage = { type: 'credentials', ...credentialsFromText('user', 'pass') }
export const BOUND = '05 00 00 01 0a000001 1234'
export const NO_AUTH: Step[] = [GREETING, '05 00']
export const USER_PASS: Step[] = [GREETING, '05 02', CREDENTIALS]
export const CUSTOM: Step[] = [GREETING, '05 80']
export const CONNECTING: Step[] = [...NO_AUTH, request(0x01)]
export const BINDING: Step[] = [...NO_AUTH, request(0x02)]

/** A way to every state. */
export const WAYS: Record<ClientState, readonly Step[]> = {
  initial: [],
  'awaiting-method': [GREETING],
  'sending-credentials': [GREETING, '05 02'],
  'awaiting-status': USER_PASS,
  authenticating: CUSTOM,
  'sending-request': NO_AUTH,
  'awaiting-reply': CONNECTING,
  'awaiting-peer-reply': [...BINDING, BOUND],
  open: [...CONNECTING, BOUND],
  closed: [...NO_AUTH, request(0xf0), BOUND],
  failed: [GREETING, '05 ff'],
}

export const STATES: readonly ClientState[] = Object.keys(WAYS).filter((key): key is ClientState => key in WAYS)

export const LEGAL: Record<ClientState, readonly ClientMessage['type'][]> = {
  initial: ['greeting'],
  'awaiting-method': [],
  'sending-credentials': ['credentials'],
  'awaiting-status': [],
  authenticating: ['authData', 'authEnd'],
  'sending-request': ['request'],
  'awaiting-reply': [],
  'awaiting-peer-reply': [],
  open: [],
  closed: [],
  failed: [],
}

export const MESSAGES: readonly ClientMessage[] = [
  GREETING,
  CREDENTIALS,
  { type: 'authData', data: bytes('cc') },
  { type: 'authEnd' },
  { type: 'authEnd', unread: bytes('cc') },
  request(0x01),
  request(0x02),
]

export function request(command: number, host = 'example.com', port = 443): ClientMessage {
  return { type: 'request', command, destination: { host, port } }
}

export function walk(steps: readonly Step[]): ClientSession {
  const session = new ClientSession()
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

export function sessionIn(state: ClientState): ClientSession {
  const session = walk(WAYS[state])
  expect(session.state).toBe(state)
  return session
}

/** Feeds hex after the given steps; the next event must fail with the code, and leave nothing to be sent. */
export function failure(steps: readonly Step[], input: string, code: SocksErrorCode): SocksError {
  const session = walk(steps)
  session.receive(bytes(input))
  const error = socksError(() => session.nextEvent(), code)
  expect(session.state).toBe('failed')
  expect(error.response).toBeUndefined()
  return error
}

/** The event that hex brings after the given steps. */
export function event(steps: readonly Step[], input: string): unknown {
  const session = walk(steps)
  session.receive(bytes(input))
  return plain(session.nextEvent())
}
