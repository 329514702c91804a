import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { conversation, sizes } from '../support/arbitraries.js'
import { clientEnd, converse, cutBy, expected, serverEnd } from './conversation.js'

describe('random legal conversations', () => {
  it('give both sides the events of their script, however the streams are cut', () => {
    fc.assert(
      fc.property(conversation, sizes, sizes, (script, clientSizes, serverSizes) => {
        const { client, server } = converse(script, cutBy(clientSizes), cutBy(serverSizes))
        expect({ client, server }).toEqual(expected(script))
      }),
      { numRuns: 500 },
    )
  })

  it('S38 a client that speaks ahead gives the same events as one that waits', () => {
    fc.assert(
      fc.property(conversation, sizes, sizes, (script, clientSizes, serverSizes) => {
        const { fromClient, fromServer, ...outcome } = converse(script)
        const server = serverEnd(script)
        for (const chunk of cutBy(clientSizes)(fromClient, 0)) server.receive(chunk)
        const client = clientEnd(script)
        for (const chunk of cutBy(serverSizes)(fromServer, 0)) client.receive(chunk)
        expect({ client: client.outcome, server: server.outcome }).toEqual(outcome)
      }),
      { numRuns: 300 },
    )
  })

  it('all kinds of conversations are among them', () => {
    const kinds = new Set<string>()
    for (const script of fc.sample(conversation, { numRuns: 500, seed: 1 })) {
      const { client, server } = expected(script)
      const last = client.events.at(-1)
      const outcome = typeof last === 'object' && last !== null && 'code' in last ? String(last.code) : client.state
      kinds.add(outcome)
      kinds.add(`server ${server.state}`)
      kinds.add(`${client.events.length} events`)
    }
    for (const kind of [
      'open',
      'closed',
      'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
      'ERR_SOCKS_AUTH_FAILED',
      'ERR_SOCKS_UNASSIGNED_REPLY',
      'server open',
      'server closed',
      '1 events',
      '2 events',
      '3 events',
      '4 events',
    ]) {
      expect(kinds).toContain(kind)
    }
  })
})
