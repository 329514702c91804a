import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ClientEvent, type ClientMessage, ClientSession, type ClientState } from '../../src/codec/index.js'
import { conversation, sizes } from '../support/arbitraries.js'
import { bytes, concat, hex } from '../support/bytes.js'
import { BOUND, CREDENTIALS, MESSAGES, request } from './client-walk.js'
import { type ClientEnd, type Conversation, converse, cutBy, End, expected, serverEnd } from './conversation.js'
import { expectOutOfRange, socksError } from './laws.js'

const NO_AUTH: ClientMessage = { type: 'greeting', methods: [0x00] }
const USER_PASS: ClientMessage = { type: 'greeting', methods: [0x02] }
const ALL_NO_AUTH = [NO_AUTH, request(1)]
const ALL_USER_PASS = [USER_PASS, CREDENTIALS, request(1)]

function say(messages: readonly ClientMessage[], options = {}): { session: ClientSession; said: string } {
  const session = new ClientSession({ optimistic: true, ...options })
  return { session, said: hex(concat(...messages.map((message) => session.send(message)))) }
}

/** A session to which the proxy has said something, and the events of it. */
function hear(messages: readonly ClientMessage[], answers: string): { session: ClientSession; events: ClientEvent[] } {
  const { session } = say(messages)
  session.receive(bytes(answers))
  const events: ClientEvent[] = []
  for (let event = session.nextEvent(); event !== undefined; event = session.nextEvent()) events.push(event)
  return { session, events }
}

describe('ClientSession, optimistic: transitions', () => {
  it('C38 says all it has to say, and then hears all there is to hear', () => {
    const session = new ClientSession({ optimistic: true })
    const states: ClientState[] = [session.state]
    for (const message of ALL_USER_PASS) {
      session.send(message)
      states.push(session.state)
    }
    for (const answer of ['05 02', '01 00', BOUND]) {
      expect(session.nextEvent()).toBeUndefined()
      session.receive(bytes(answer))
      expect(session.nextEvent()).toBeDefined()
      states.push(session.state)
    }
    expect(states).toEqual([
      'initial',
      'sending-credentials',
      'sending-request',
      'awaiting-method',
      'awaiting-status',
      'awaiting-reply',
      'open',
    ])
  })

  it('C38 the bytes are those of a session that waits', () => {
    expect(say(ALL_NO_AUTH).said).toBe('050100050100030b6578616d706c652e636f6d01bb')
    expect(say(ALL_USER_PASS).said).toBe('0501020104757365720470617373050100030b6578616d706c652e636f6d01bb')
  })

  it.each<[string, readonly ClientMessage[], string, ClientState]>([
    ['without credentials', ALL_NO_AUTH, `05 00 ${BOUND}`, 'open'],
    ['with credentials', ALL_USER_PASS, `05 02 01 00 ${BOUND}`, 'open'],
    ['first reply of BIND', [NO_AUTH, request(2)], `05 00 ${BOUND}`, 'awaiting-peer-reply'],
    ['both replies of BIND', [NO_AUTH, request(2)], `05 00 ${BOUND} ${BOUND}`, 'open'],
    ['look-up', [NO_AUTH, request(0xf0)], `05 00 ${BOUND}`, 'closed'],
  ])('C38 C66 %s: all answers in one chunk', (_what, messages, answers, state) => {
    const { session } = hear(messages, answers)
    expect(session.state).toBe(state)
  })

  it('C39 C65 what is behind the reply belongs to the tunnel', () => {
    const { session, events } = hear(ALL_USER_PASS, `05 02 01 00 ${BOUND} aa bb`)
    expect(events.map(({ type }) => type)).toEqual(['method', 'authStatus', 'reply'])
    expect(hex(session.takeRemaining())).toBe('aabb')
  })

  it('C38 nothing of the proxy is read before all is said', () => {
    const session = new ClientSession({ optimistic: true })
    session.receive(bytes(`05 02 01 00 ${BOUND}`))
    for (const message of ALL_USER_PASS) {
      expect([session.wantsBytes, session.nextEvent()]).toEqual([false, undefined])
      session.send(message)
    }
    expect(session.nextEvent()).toEqual({ type: 'method', method: 2 })
  })

  it('C38 a greeting whose answer would decide what follows is refused, and changes nothing', () => {
    for (const methods of [[], [0x00, 0x02], [0x02, 0x02], [0x80], [0x01], [0xff], [256]]) {
      const { session } = say([])
      expectOutOfRange(() => session.send({ type: 'greeting', methods }))
      expect(session.state).toBe('initial')
      session.send(NO_AUTH)
      session.receive(bytes('05 02'))
      session.send(request(1))
      socksError(() => session.nextEvent(), 'ERR_SOCKS_METHOD_NOT_OFFERED')
    }
  })

  it('every message out of its turn is refused and changes nothing', () => {
    const ways: readonly [ClientState, readonly ClientMessage[], string, ClientMessage['type']?][] = [
      ['initial', [], '', 'greeting'],
      ['sending-credentials', [USER_PASS], '', 'credentials'],
      ['sending-request', [USER_PASS, CREDENTIALS], '', 'request'],
      ['sending-request', [NO_AUTH], '', 'request'],
      ['awaiting-method', ALL_NO_AUTH, ''],
      ['awaiting-status', ALL_USER_PASS, '05 02'],
      ['awaiting-reply', ALL_USER_PASS, '05 02 01 00'],
      ['open', ALL_NO_AUTH, `05 00 ${BOUND}`],
    ]
    for (const [state, messages, answers, legal] of ways) {
      for (const message of MESSAGES) {
        if (message.type === legal) continue
        const { session } = hear(messages, answers)
        socksError(() => session.send(message), 'ERR_SOCKS_ILLEGAL_MESSAGE')
        expect(session.state).toBe(state)
      }
    }
  })

  it('C38 the status alone, as Tor answers what comes in one segment, says that method 02 was chosen', () => {
    const { session, events } = hear(ALL_USER_PASS, `01 00 ${BOUND} aa`)
    expect(events.map(({ type }) => type)).toEqual(['method', 'authStatus', 'reply'])
    expect(hex(session.takeRemaining())).toBe('aa')
    const refused = hear(ALL_USER_PASS, '01').session
    expect(refused.state).toBe('awaiting-status')
    refused.receive(bytes('01'))
    socksError(() => refused.nextEvent(), 'ERR_SOCKS_AUTH_FAILED')
    // Nowhere else: not where nothing was said ahead, nor where no credentials were.
    const patient = new ClientSession()
    patient.send(USER_PASS)
    const open = say(ALL_NO_AUTH).session
    for (const session of [patient, open]) {
      session.receive(bytes('01 00'))
      socksError(() => session.nextEvent(), 'ERR_SOCKS_BAD_VERSION')
    }
  })

  it('SOCKS4 is one message anyway', () => {
    const { session, said } = say([request(1, '10.0.0.1', 80)], { socks4: true })
    expect(said).toBe('040100500a00000100')
    session.receive(bytes('00 5a 0000 00000000'))
    expect(session.nextEvent()).toMatchObject({ type: 'reply' })
    expect(session.state).toBe('open')
  })
})

describe('ClientSession, optimistic: refusals', () => {
  it.each([
    ['C3 no acceptable method', ALL_NO_AUTH, '05 ff', 'ERR_SOCKS_NO_ACCEPTABLE_METHOD'],
    ['C8 00, where 02 was offered', ALL_USER_PASS, '05 00', 'ERR_SOCKS_METHOD_NOT_OFFERED'],
    ['C8 02, where 00 was offered', ALL_NO_AUTH, '05 02', 'ERR_SOCKS_METHOD_NOT_OFFERED'],
    ['C8 a private method', ALL_NO_AUTH, '05 80', 'ERR_SOCKS_METHOD_NOT_OFFERED'],
    ['C23 credentials', ALL_USER_PASS, '05 02 01 01', 'ERR_SOCKS_AUTH_FAILED'],
    ['C64 request, by two bytes', ALL_USER_PASS, '05 02 01 00 05 05', 'ERR_SOCKS_CONNECTION_REFUSED'],
    ['C14 HTTP', ALL_USER_PASS, '48 54 54 50', 'ERR_SOCKS_PEER_IS_HTTP'],
    ['C68 unknown ATYP', ALL_NO_AUTH, '05 00 05 00 00 17 00', 'ERR_SOCKS_BAD_ADDRESS_TYPE'],
  ] as const)('%s: whole, and cut at every byte', (_what, messages, answers, code) => {
    const all = bytes(answers)
    for (let cut = 0; cut < all.length; cut++) {
      const { session } = say(messages)
      const read = () => {
        while (session.nextEvent() !== undefined);
      }
      session.receive(all.subarray(0, cut))
      // What decides may be among the first bytes already.
      if (session.state !== 'failed') {
        try {
          read()
        } catch {}
      }
      session.receive(all.subarray(cut))
      socksError(read, code)
      expect(session.state).toBe('failed')
    }
  })

  it('C15 C70 an end anywhere is an error', () => {
    const all = bytes(`05 02 01 00 ${BOUND}`)
    for (let length = 0; length < all.length; length++) {
      const { session } = hear(ALL_USER_PASS, hex(all.subarray(0, length)))
      session.receiveEnd()
      socksError(() => session.nextEvent(), 'ERR_SOCKS_CONNECTION_CLOSED')
    }
  })
})

// Only what can be said ahead: one of the two methods whose messages are known.
const ahead = conversation
  .filter(({ tokens }) => tokens === undefined)
  .map((script): Conversation => ({ ...script, offered: [script.method === 0xff ? 0x00 : script.method] }))

function optimisticEnd({ offered, credentials, command, destination, clientPayload }: Conversation): ClientEnd {
  return new End<ClientEvent, ClientMessage>(
    new ClientSession({ optimistic: true }),
    (event) => ({ note: event, say: [] }),
    clientPayload,
    [
      { type: 'greeting', methods: offered },
      ...(credentials === undefined ? [] : [{ type: 'credentials' as const, ...credentials }]),
      { type: 'request', command, destination },
    ],
  )
}

describe('random conversations that are said ahead', () => {
  it('C38 C39 give the events of those that are not, however the answers and what follows are cut', () => {
    fc.assert(
      fc.property(ahead, sizes, (script, clientSizes) => {
        const { fromServer } = converse(script)
        const client = optimisticEnd(script)
        client.start()
        for (const chunk of cutBy(clientSizes)(fromServer, 0)) client.receive(chunk)
        expect(client.outcome).toEqual(expected(script).client)
      }),
      { numRuns: 500 },
    )
  })

  it('S38 S39 come to the server as its script says, with the first data in the same piece', () => {
    fc.assert(
      fc.property(ahead, sizes, (script, serverSizes) => {
        const server = serverEnd(script)
        const flight = concat(optimisticEnd(script).start(), script.clientPayload)
        for (const chunk of cutBy(serverSizes)(flight, 0)) server.receive(chunk)
        expect(server.outcome).toEqual(expected(script).server)
      }),
      { numRuns: 500 },
    )
  })
})
