import { describe, expect, it } from 'vitest'
import { bytes, concat, hex } from '../support/bytes.js'
import {
  byteByByte,
  type Conversation,
  clientEnd,
  converse,
  cutAt,
  expected,
  type Outcome,
  serverEnd,
  whole,
} from './conversation.js'
import { SCENARIOS } from './scenarios.js'

/** What the server sees when the client's whole stream reaches it in the given chunks. */
function replayToServer(conversation: Conversation, chunks: readonly Uint8Array[]): Outcome {
  const end = serverEnd(conversation)
  for (const chunk of chunks) end.receive(chunk)
  return end.outcome
}

/** What the client sees when the server's whole stream reaches it in the given chunks. */
function replayToClient(conversation: Conversation, chunks: readonly Uint8Array[]): Outcome {
  const end = clientEnd(conversation)
  for (const chunk of chunks) end.receive(chunk)
  return end.outcome
}

/** `toEqual` for loops of thousands: the cheap comparison first, the telling one when it fails. */
function expectSame(actual: unknown, wanted: unknown, where: string): void {
  if (JSON.stringify(actual) !== JSON.stringify(wanted)) expect(actual, where).toEqual(wanted)
}

for (const { name, conversation, clientHandshake, serverHandshake } of SCENARIOS) {
  describe(`two sessions: ${name}`, () => {
    const wanted = expected(conversation)
    const { clientPayload, serverPayload } = conversation
    const fromClient = concat(bytes(clientHandshake), clientPayload)
    const fromServer = concat(bytes(serverHandshake), serverPayload)

    it('both send what the RFCs write and see what the other meant', () => {
      const { client, server, ...streams } = converse(conversation)
      expect({ client, server }).toEqual(wanted)
      expect(hex(streams.fromClient)).toBe(hex(fromClient))
      expect(hex(streams.fromServer)).toBe(hex(fromServer))
    })

    it('S37 byte by byte in both directions: the same events', () => {
      const { client, server } = converse(conversation, byteByByte, byteByByte)
      expect({ client, server }).toEqual(wanted)
    })

    it('one more cut, at every place of either stream: the same events', () => {
      for (let at = 1; at < fromClient.length; at++) {
        const { client, server } = converse(conversation, cutAt(at), whole)
        expectSame({ server, client }, wanted, `client stream cut at ${at}`)
      }
      for (let at = 1; at < fromServer.length; at++) {
        const { client, server } = converse(conversation, whole, cutAt(at))
        expectSame({ server, client }, wanted, `server stream cut at ${at}`)
      }
    })

    it('S39 all of the client in one chunk, and in every two: the same events, the payload once', () => {
      expect(replayToServer(conversation, [fromClient])).toEqual(wanted.server)
      expect(replayToServer(conversation, byteByByte(fromClient, 0))).toEqual(wanted.server)
      for (let at = 1; at < fromClient.length; at++) {
        const chunks = [fromClient.subarray(0, at), fromClient.subarray(at)]
        expectSame(replayToServer(conversation, chunks), wanted.server, `cut at ${at}`)
      }
    })

    it('C65 all of the server in one chunk, and in every two: the same events, the payload once', () => {
      expect(replayToClient(conversation, [fromServer])).toEqual(wanted.client)
      expect(replayToClient(conversation, byteByByte(fromServer, 0))).toEqual(wanted.client)
      for (let at = 1; at < fromServer.length; at++) {
        const chunks = [fromServer.subarray(0, at), fromServer.subarray(at)]
        expectSame(replayToClient(conversation, chunks), wanted.client, `cut at ${at}`)
      }
    })

    it('the end of the client at every place: nothing said, cut short, or a half-close', () => {
      const handshake = bytes(clientHandshake).length
      for (let length = 0; length <= fromClient.length; length++) {
        for (const together of [true, false]) {
          const end = serverEnd(conversation)
          if (together) end.session.receive(fromClient.subarray(0, length))
          else end.receive(fromClient.subarray(0, length))
          end.receiveEnd()
          expect(end.receiveEnd().length, 'a second end brings nothing').toBe(0)
          const { events, state, payload } = end.outcome
          if (length === 0) {
            expect({ events, state }).toEqual({ events: [{ type: 'end' }], state: 'closed' })
          } else if (state === 'authenticating') {
            // The method knows of the end, and what it has read may be all it needs.
            expectSame(events, wanted.server.events.slice(0, events.length), `${length}`)
          } else if (length < handshake) {
            expect(events.at(-1), `${length}`).toEqual({ type: 'error', code: 'ERR_SOCKS_CONNECTION_CLOSED' })
            expectSame(events.slice(0, -1), wanted.server.events.slice(0, events.length - 1), `${length}`)
            expect(state).toBe('failed')
          } else {
            expect({ events, state }).toEqual({ events: wanted.server.events, state: wanted.server.state })
            expect(payload).toBe(state === 'open' ? hex(fromClient.subarray(handshake, length)) : '')
          }
        }
      }
    })

    it('the end of the server at every place: cut short, or a half-close', () => {
      const handshake = bytes(serverHandshake).length
      // A refusal is decided by its code alone.
      const decided = wanted.client.state === 'failed' ? decisive(conversation, serverHandshake) : handshake
      for (let length = 0; length <= fromServer.length; length++) {
        for (const together of [true, false]) {
          const end = clientEnd(conversation)
          if (together) end.session.receive(fromServer.subarray(0, length))
          else end.receive(fromServer.subarray(0, length))
          end.receiveEnd()
          const { events, state, payload } = end.outcome
          if (length < decided) {
            expect(events.at(-1), `${length}`).toEqual({ type: 'error', code: 'ERR_SOCKS_CONNECTION_CLOSED' })
            expectSame(events.slice(0, -1), wanted.client.events.slice(0, events.length - 1), `${length}`)
            expect(state).toBe('failed')
          } else {
            expect({ events, state }).toEqual({ events: wanted.client.events, state: wanted.client.state })
            expect(payload).toBe(state === 'open' ? hex(fromServer.subarray(handshake, length)) : '')
          }
        }
      }
    })
  })
}

/** How many bytes of the server decide that it has refused. */
function decisive({ replies }: Conversation, serverHandshake: string): number {
  const { length } = bytes(serverHandshake)
  // The last reply of the scenarios that fail at one is of ten bytes; its second byte decides.
  return replies.length > 0 ? length - 8 : length
}
